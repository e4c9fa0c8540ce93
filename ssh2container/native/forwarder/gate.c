/* What may pass between the container and libslirp: every frame of either direction comes by here. */
#include "flows.h"
#include "forwarder.h"
#include "fragments.h"
#include "names.h"
#include "routes.h"
#include "streams.h"

#include <string.h>

static uint8_t composed[LARGEST_FRAME];

static enum verdict judge(unsigned protocol, const struct address *target, unsigned port)
{
    const struct configuration *rules = &forwarder.configuration;
    const enum place place = routes_place(target);
    const enum verdict verdict = rules_judge(rules, protocol, target, port, place);
    if (verdict != VERDICT_REFUSED || !rules_let_names_lead_to(target, place) ||
        !names_allow(rules, protocol, target, port, forwarder.now_ms))
        return verdict;
    return place == PLACE_NOWHERE ? VERDICT_NO_ROUTE : VERDICT_ALLOWED;
}

/* Tell the sender at once: nobody shall wait for what does not come. */
static void refuse(const struct packet *packet, enum verdict verdict)
{
    if (verdict == VERDICT_IGNORED)
        return;
    const bool by_rules = verdict == VERDICT_REFUSED;
    const struct address *router = of_family(&forwarder.gateway, packet->source.six);
    const size_t size =
        packet->kind == PACKET_TCP && by_rules
            ? compose_reset(composed, packet)
            : compose_unreachable(composed, packet, router, by_rules ? REFUSED_BY_RULES : REFUSED_NO_ROUTE);
    tunnel_answer(composed, size);
    if (by_rules) {
        const bool ping = packet->kind == PACKET_ECHO;
        report_refused(ping ? PROTOCOL_ICMP : packet->protocol, &packet->target, ping ? 0 : packet->target_port,
                       names_of(&packet->target));
    }
}

static bool is_inside(const struct address *target)
{
    return range_has(&forwarder.network4, target) || range_has(&forwarder.network6, target);
}

static bool begins_connection(const struct packet *packet)
{
    return (packet->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* The gateway and the resolver are nobody's host: they answer pings and questions for names, and clients of published
 * ports on the host itself come from there. Nothing else gets through to libslirp, which would take these addresses
 * for the host's loopback. */
static void to_inside(const struct packet *packet, const uint8_t *frame, size_t size)
{
    const bool six = packet->target.six;
    const bool resolver = address_equal(&packet->target, of_family(&forwarder.dns, six));
    if (packet->kind == PACKET_UDP && resolver && packet->target_port == DNS_PORT) {
        resolver_ask(packet);
    } else if (packet->kind == PACKET_UDP &&
               flows_know(&packet->target, packet->target_port, packet->source_port, forwarder.now_ms)) {
        tunnel_pass(frame, size);
    } else if (packet->kind == PACKET_TCP &&
               (!begins_connection(packet) ||
                (resolver && packet->target_port == DNS_PORT && names_may_be_asked(&forwarder.configuration, "")))) {
        tunnel_pass(frame, size);
    } else if (packet->kind == PACKET_ECHO &&
               (resolver || address_equal(&packet->target, of_family(&forwarder.gateway, six)))) {
        const struct link link = compose_link(packet);
        size_t made =
            compose_icmp(composed, &link, &packet->target, &packet->source, packet->transport, packet->transport_size);
        if (made) {
            composed[made - packet->transport_size] = six ? ECHO6_REPLY : ECHO4_REPLY;
            made = compose_icmp(composed, &link, &packet->target, &packet->source,
                                composed + made - packet->transport_size, packet->transport_size);
        }
        tunnel_answer(composed, made);
    } else {
        refuse(packet, VERDICT_REFUSED);
    }
}

/* A connection begins with SYN alone: libslirp makes none of anything else, but answers with a reset. */
static void tcp(const struct packet *packet, const uint8_t *frame, size_t size)
{
    enum verdict verdict = VERDICT_ALLOWED;
    if (begins_connection(packet))
        verdict = judge(PROTOCOL_TCP, &packet->target, packet->target_port);
    if (begins_connection(packet) && verdict == VERDICT_ALLOWED && forwarder.sockets >= forwarder.most_sockets)
        verdict = VERDICT_NO_ROUTE;
    if (verdict == VERDICT_ALLOWED)
        tunnel_pass(frame, size);
    else
        refuse(packet, verdict);
}

static void udp(const struct packet *packet, const uint8_t *frame, size_t size)
{
    if (!flows_know(&packet->target, packet->target_port, packet->source_port, forwarder.now_ms)) {
        enum verdict verdict = judge(PROTOCOL_UDP, &packet->target, packet->target_port);
        /* Each port of the container takes a socket for minutes, so that a flood leaves none for connections. */
        if (verdict == VERDICT_ALLOWED && forwarder.sockets >= forwarder.most_sockets / 4 * 3)
            verdict = VERDICT_NO_ROUTE;
        if (verdict != VERDICT_ALLOWED) {
            refuse(packet, verdict);
            return;
        }
        flows_add(&packet->target, packet->target_port, packet->source_port, forwarder.now_ms);
    }
    tunnel_pass(frame, size);
}

static void echo(const struct packet *packet)
{
    const enum verdict verdict = judge(PROTOCOL_ICMP, &packet->target, 0);
    if (verdict == VERDICT_ALLOWED)
        ping_ask(packet);
    else
        refuse(packet, verdict);
}

/* Nobody may send in another's name. On the link itself a neighbour may have an address of the link, or none yet. */
static bool is_own(const struct packet *packet)
{
    static const struct address none = {.six = true};
    if (address_equal(&packet->source, of_family(&forwarder.own, packet->source.six)))
        return true;
    return packet->kind == PACKET_LINK && packet->source.six &&
           (address_equal(&packet->source, &none) || address_kind(&packet->source) == ADDRESS_LINK_LOCAL);
}

static void from_container(uint8_t *frame, size_t size, bool whole)
{
    struct packet packet;
    if (packet_read(&packet, frame, size) == PACKET_BROKEN || !is_own(&packet))
        return;
    memcpy(forwarder.link.to, frame + LINK_ADDRESS, LINK_ADDRESS);
    /* How libslirp counts urgent data lets a container read its memory (CVE-2026-9539). */
    packet_calm(&packet, frame);
    if (packet.kind == PACKET_LINK) {
        tunnel_pass(frame, size);
    } else if (packet.kind == PACKET_FRAGMENT) {
        uint8_t *made = whole ? NULL : fragments_take(&packet, forwarder.now_ms, &size);
        if (made)
            from_container(made, size, true);
    } else if (packet.kind == PACKET_UNKNOWN) {
        if (address_kind(&packet.target) != ADDRESS_GROUP)
            tunnel_answer(composed,
                          compose_unreachable(composed, &packet, of_family(&forwarder.gateway, packet.source.six),
                                              REFUSED_PROTOCOL));
    } else if (is_inside(&packet.target)) {
        to_inside(&packet, frame, size);
    } else if (packet.kind == PACKET_TCP) {
        tcp(&packet, frame, size);
    } else if (packet.kind == PACKET_UDP) {
        udp(&packet, frame, size);
    } else {
        echo(&packet);
    }
}

void gate_from_container(uint8_t *frame, size_t size)
{
    from_container(frame, size, false);
}

static bool is_published(unsigned port)
{
    for (size_t i = 0; i < forwarder.configuration.published_count; i++) {
        const struct published *published = &forwarder.configuration.published[i];
        if (published->protocol == PROTOCOL_UDP && published->inside == port)
            return true;
    }
    return false;
}

/* libslirp's sockets for datagrams are bound to nobody: whoever finds their port may send. What comes in belongs to a
 * flow that the container has begun, or is for a published port and begins one, so that it can be answered. */
static bool udp_comes_in(const struct packet *packet)
{
    if (flows_know(&packet->source, packet->source_port, packet->target_port, forwarder.now_ms))
        return true;
    if (!is_published(packet->target_port))
        return false;
    flows_add(&packet->source, packet->source_port, packet->target_port, forwarder.now_ms);
    return true;
}

static void learn(const uint8_t *message, size_t size)
{
    names_learn(&forwarder.configuration, message, size, forwarder.now_ms, routes_place);
}

bool gate_to_container(const uint8_t *frame, size_t size)
{
    struct packet packet;
    packet_read(&packet, frame, size);
    if (packet.kind == PACKET_UDP)
        return udp_comes_in(&packet);
    if (packet.kind == PACKET_TCP && packet.source_port == DNS_PORT &&
        address_equal(&packet.source, of_family(&forwarder.dns, packet.source.six)))
        streams_take(&packet, forwarder.now_ms, learn);
    /* Addresses and routes inside are made by pid 1, and a router would give it others. */
    return !(packet.protocol == PROTOCOL_ICMP6 && packet.transport_size && *packet.transport == ROUTER_ADVERTISEMENT);
}
