/* Frames of either direction at the gate; what is behind it is made of the input.
 *
 * Input: a configuration, then frames, each behind a byte that says from where it comes. */
#include "forwarder.h"

#include "../../../ssh2container/native/forwarder/flows.h"

struct forwarder forwarder;

static enum place last_place;
static bool inbound;

enum place routes_place(const struct address *address)
{
    (void)address;
    return last_place = fuzz_byte() % 3;
}

static bool is_inside(const struct address *address)
{
    return range_has(&forwarder.network4, address) || range_has(&forwarder.network6, address);
}

/* What libslirp must not see, whatever the rules are. */
void tunnel_pass(const uint8_t *frame, size_t size)
{
    struct packet packet;
    const struct configuration *rules = &forwarder.configuration;
    const enum packet_kind kind = packet_read(&packet, frame, size);
    if (kind != PACKET_LINK && kind != PACKET_TCP && kind != PACKET_UDP)
        fuzz_fail("a frame that is for nobody");
    if (kind == PACKET_LINK)
        return;
    if (kind == PACKET_TCP && packet.flags & TCP_URGENT)
        fuzz_fail("urgent data");
    if (!address_equal(&packet.source, packet.source.six ? &forwarder.own.six : &forwarder.own.four))
        fuzz_fail("a source that is not the container's");
    const bool begins = kind == PACKET_TCP && (packet.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
    if (!begins && (kind == PACKET_TCP || rules->published_count))
        return;
    if (is_inside(&packet.target) && (kind == PACKET_UDP || packet.target_port != DNS_PORT))
        fuzz_fail("a way to the host's loopback");
    if (!is_inside(&packet.target) && address_kind(&packet.target) >= ADDRESS_NEVER)
        fuzz_fail("an address that may never be reached");
    if (begins && !is_inside(&packet.target) && !rules->rule_count && rules->egress == EGRESS_INTERNET &&
        (last_place == PLACE_OWN || address_kind(&packet.target) != ADDRESS_PUBLIC))
        fuzz_fail("a connection that no rule allows");
    if (begins && !rules->rule_count && rules->egress != EGRESS_INTERNET && rules->egress != EGRESS_ANY)
        fuzz_fail("a connection that is allowed by nothing");
}

/* What is composed for the container is read as what it is, to its last byte. */
void tunnel_answer(const uint8_t *frame, size_t size)
{
    struct packet packet;
    if (!size)
        return;
    const enum packet_kind kind = packet_read(&packet, frame, size);
    if (size > LARGEST_FRAME || get16(frame + 12) == TYPE_ARP ||
        (kind == PACKET_BROKEN && packet.protocol != PROTOCOL_ICMP && packet.protocol != PROTOCOL_ICMP6))
        fuzz_fail("an answer that is none");
    if ((size_t)(packet.transport - frame) + packet.transport_size != size)
        fuzz_fail("an answer of another size");
}

void resolver_ask(const struct packet *packet)
{
    if (packet->kind != PACKET_UDP || packet->target_port != DNS_PORT)
        fuzz_fail("a question that is none");
}

void ping_ask(const struct packet *packet)
{
    if (packet->kind != PACKET_ECHO || address_kind(&packet->target) >= ADDRESS_NEVER || is_inside(&packet->target))
        fuzz_fail("a ping to nobody");
}

void report_refused(unsigned protocol, const struct address *target, unsigned port, const char *name)
{
    char text[ADDRESS_TEXT];
    if (inbound || !address_write(target, text) || port > 65535 || (name && !*name) || protocol > PROTOCOL_ICMP6)
        fuzz_fail("a report of nothing");
}

static void begin(void)
{
    static const uint8_t link[] = {0x52, 0x55, 10, 0, 2, 2};
    address_read(&forwarder.own.four, OWN4), address_read(&forwarder.own.six, OWN6);
    address_read(&forwarder.gateway.four, GATEWAY4), address_read(&forwarder.gateway.six, GATEWAY6);
    address_read(&forwarder.dns.four, DNS4), address_read(&forwarder.dns.six, DNS6);
    address_read(&forwarder.network4.network, NETWORK4), address_read(&forwarder.network6.network, NETWORK6);
    forwarder.network4.bits = (unsigned)atoi(PREFIX4), forwarder.network6.bits = (unsigned)atoi(PREFIX6);
    memcpy(forwarder.link.from, link, sizeof link);
    /* Nothing that an earlier input has begun lives on. */
    forwarder.now_ms += 10LL * FLOW_LIFE_MS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_begin(data, size);
    begin();
    if (fuzz_configuration(&forwarder.configuration)) {
        forwarder.most_sockets = 3;
        while (!fuzz_done()) {
            size_t length;
            const uint8_t how = fuzz_byte();
            uint8_t *frame = fuzz_part(&length);
            forwarder.sockets = how >> 5;
            inbound = how & 1;
            if (inbound) {
                struct packet packet;
                gate_to_container(frame, length);
                packet_read(&packet, frame, length);
                packet_even(&packet, frame);
            } else {
                gate_from_container(frame, length);
            }
            forwarder.now_ms += how & 16 ? 1000 : 1;
        }
    }
    fuzz_forget(&forwarder.configuration);
    fuzz_end();
    return 0;
}
