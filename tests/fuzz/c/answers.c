/* What resolvers answer, and the names that it pins.
 *
 * Input: a configuration, a message. */
#include "forwarder.h"

static enum place place(const struct address *address)
{
    return address->bytes[0] % 3;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int64_t now_ms = 1; /* each input long after the one before, so that its pins are its own */
    struct configuration configuration;
    struct dns_question question;
    struct dns_address found[8];
    size_t length;
    now_ms += 2000LL * LONGEST_PIN_S;
    fuzz_begin(data, size);
    const bool read = fuzz_configuration(&configuration);
    uint8_t *message = fuzz_part(&length);
    if (read && dns_read_question(message, length, &question)) {
        if (strlen(question.name) >= sizeof question.name || question.end > length)
            fuzz_fail("a question beyond its message");
        bool named = false;
        for (size_t i = 0; i < configuration.rule_count; i++)
            named = named || rule_names(&configuration.rules[i], question.name);
        const size_t count = dns_addresses(message, length, &question, found, 8);
        names_learn(&configuration, message, length, now_ms, place);
        for (size_t i = 0; i < count; i++)
            for (unsigned port = 0; port < 65536; port += 4369)
                if (names_allow(&configuration, PROTOCOL_TCP, &found[i].address, port, now_ms) &&
                    (!named || place(&found[i].address) == PLACE_OWN))
                    fuzz_fail("a name that nobody allows");
        if (dns_refuse(message, &question, DNS_REFUSED) > length)
            fuzz_fail("an answer longer than its question");
    } else if (read) {
        names_learn(&configuration, message, length, now_ms, place);
    }
    fuzz_forget(&configuration);
    fuzz_end();
    return 0;
}
