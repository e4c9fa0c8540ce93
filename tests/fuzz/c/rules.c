/* The forwarder's configuration, and what it says of flows.
 *
 * Input: a configuration, a name, then flows. */
#include "forwarder.h"

static const char *const never[] = {"127.0.0.1", "0.0.0.0",     "255.255.255.255", "240.0.0.1",       "::1",
                                    "::",        "::127.0.0.1", "::ffff:8.8.8.8",  "64:ff9b::7f00:1", "2002:7f00:1::"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct configuration configuration;
    struct address address;
    fuzz_begin(data, size);
    if (fuzz_configuration(&configuration)) {
        const char *name = fuzz_text(400);
        for (size_t i = 0; i < configuration.rule_count; i++)
            rule_names(&configuration.rules[i], name);
        names_may_be_asked(&configuration, name);
        for (size_t i = 0; i < sizeof never / sizeof *never; i++)
            if (!address_read(&address, never[i]) ||
                rules_judge(&configuration, PROTOCOL_TCP, &address, 1, PLACE_ELSEWHERE) == VERDICT_ALLOWED)
                fuzz_fail("an address that may never be reached");
        while (!fuzz_done()) {
            address = fuzz_address();
            const enum place place = fuzz_byte() % 3;
            const unsigned protocol = fuzz_byte() & 1 ? PROTOCOL_UDP : PROTOCOL_ICMP;
            const enum verdict verdict = rules_judge(&configuration, protocol, &address, fuzz_byte(), place);
            if (verdict == VERDICT_ALLOWED && !configuration.rule_count &&
                (configuration.egress == EGRESS_NONE || configuration.egress == EGRESS_LIST ||
                 (configuration.egress == EGRESS_INTERNET &&
                  (place != PLACE_ELSEWHERE || address_kind(&address) != ADDRESS_PUBLIC))))
                fuzz_fail("allowed by nothing");
        }
    }
    fuzz_forget(&configuration);
    fuzz_end();
    return 0;
}
