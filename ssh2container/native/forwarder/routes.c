/* What the kernel of the host would do with a packet (rtnetlink(7), RTM_GETROUTE).
 *
 * Its local table knows every address of the host, of whichever interface, in the moment of the question, with ranges
 * that are routed to the host itself (ip-route(8), type local) and the broadcast addresses of its networks. */
#include "routes.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int kernel = -1;
static uint32_t last;

bool routes_open(void)
{
    kernel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    return kernel >= 0;
}

static bool ask(const struct address *address)
{
    struct {
        struct nlmsghdr header;
        struct rtmsg route;
        struct rtattr attribute;
        uint8_t bytes[16];
    } question;
    memset(&question, 0, sizeof question);
    const size_t size = address_size(address);
    question.header.nlmsg_len = (uint32_t)(offsetof(__typeof__(question), bytes) + size);
    question.header.nlmsg_type = RTM_GETROUTE;
    question.header.nlmsg_flags = NLM_F_REQUEST;
    question.header.nlmsg_seq = ++last;
    question.route.rtm_family = address->six ? AF_INET6 : AF_INET;
    question.route.rtm_dst_len = (unsigned char)(8 * size);
    question.attribute.rta_type = RTA_DST;
    question.attribute.rta_len = (unsigned short)(sizeof question.attribute + size);
    memcpy(question.bytes, address->bytes, size);
    const struct sockaddr_nl to = {.nl_family = AF_NETLINK};
    return sendto(kernel, &question, question.header.nlmsg_len, 0, (const struct sockaddr *)&to, sizeof to) > 0;
}

/* The answer is there when the question has been sent: the kernel writes it on the way (netlink(7)). */
static enum place answer(void)
{
    union {
        struct nlmsghdr header;
        char bytes[4096];
    } message;
    for (;;) {
        struct sockaddr_nl from;
        socklen_t from_size = sizeof from;
        const ssize_t size =
            recvfrom(kernel, &message, sizeof message, MSG_DONTWAIT, (struct sockaddr *)&from, &from_size);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < (ssize_t)sizeof message.header)
            return PLACE_OWN;
        if (from.nl_pid || message.header.nlmsg_seq != last)
            continue; /* of somebody else, or of an earlier question */
        if (message.header.nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *error = NLMSG_DATA(&message.header);
            const int number = size >= (ssize_t)NLMSG_LENGTH(sizeof *error) ? -error->error : 0;
            const bool nowhere = number == ENETUNREACH || number == EHOSTUNREACH || number == EACCES ||
                                 number == EINVAL || number == ENETDOWN;
            return nowhere ? PLACE_NOWHERE : PLACE_OWN;
        }
        if (message.header.nlmsg_type != RTM_NEWROUTE || size < (ssize_t)NLMSG_LENGTH(sizeof(struct rtmsg)))
            return PLACE_OWN;
        switch (((const struct rtmsg *)NLMSG_DATA(&message.header))->rtm_type) {
        case RTN_UNICAST:
            return PLACE_ELSEWHERE;
        case RTN_UNREACHABLE:
        case RTN_PROHIBIT:
        case RTN_BLACKHOLE:
            return PLACE_NOWHERE;
        default: /* local; a broadcast or anycast address of the host's networks */
            return PLACE_OWN;
        }
    }
}

enum place routes_place(const struct address *address)
{
    struct address inner;
    const enum place place = ask(address) ? answer() : PLACE_OWN;
    if (place == PLACE_ELSEWHERE && address_embedded(address, &inner) && ask(&inner) && answer() == PLACE_OWN)
        return PLACE_OWN;
    return place;
}
