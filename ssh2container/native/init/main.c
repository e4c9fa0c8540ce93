/* The static program that is pid 1 of every container (docs/architecture.md).
 *
 * native/python/_syscall.c starts it in new namespaces with an empty environment, the standard descriptors, the
 * channel, the order's file and the listener. Its rights over the new user namespace came through the exec as ambient
 * capabilities; from here on they are as after a fork.
 */
#define _GNU_SOURCE
#include "container.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CHANNEL = 3, ORDER_FILE = 4, LISTENER = 5 };

static int forget_inheritable(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    if (syscall(SYS_capget, &header, sets))
        return -1;
    sets[0].inheritable = sets[1].inheritable = 0;
    return (int)syscall(SYS_capset, &header, sets);
}

int main(void)
{
    /* A program that is executed by descriptor has a number for a name (execveat(2)). */
    if (prctl(PR_SET_NAME, "init") || forget_inheritable()) {
        uint8_t message[LONGEST_MESSAGE];
        const int number = errno;
        send_message(
            CHANNEL, message,
            pack_error(message, SESSION_ERROR, "cannot start pid 1 of the container", reason(number), number, "start"));
        return OURS;
    }
    run_container(CHANNEL, ORDER_FILE, fcntl(LISTENER, F_GETFD) < 0 ? -1 : LISTENER, fork);
    return OURS;
}
