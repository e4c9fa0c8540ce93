/* A whole system in the container: what pid 1, which stays outside of it, does about its end.
 *
 * The system's own process 1 is a child of ours in pids below ours. It may do what it likes: when we kill it the kernel
 * ends all that it has started, and when we end the kernel ends it.
 */
#define _GNU_SOURCE
#include "system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE_OF_SHOWN = 4096, DEEPEST_GROUP = 64 };

static bool is_dot(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Remove the control groups below directory, which takes the descriptor (cgroups(7): only an empty one can go). */
static void remove_groups(int directory, int depth)
{
    DIR *listing = fdopendir(directory);
    const struct dirent *entry;
    if (!listing) {
        close(directory);
        return;
    }
    while ((entry = readdir(listing))) {
        if (entry->d_type != DT_DIR || is_dot(entry->d_name))
            continue;
        int below = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0 && depth)
            remove_groups(below, depth - 1);
        (void)unlinkat(directory, entry->d_name, AT_REMOVEDIR);
    }
    closedir(listing);
}

/* The system has ended. Its groups belong to ids that nobody outside may act for: they go now or stay. */
void clear_away(struct system *system)
{
    if (system->groups >= 0)
        remove_groups(system->groups, DEEPEST_GROUP);
    system->groups = -1;
    system->init = -1;
}

/* End the system at once, if there is one. */
void end_system(struct system *system)
{
    if (!system->is_whole || system->init <= 0)
        return;
    kill(system->init, SIGKILL);
    /* Others that we have started in it are among what the kernel waits for. */
    for (pid_t ended; (ended = waitpid(-1, NULL, 0)) != system->init;)
        if (ended < 0 && errno != EINTR)
            break;
    clear_away(system);
}

/* Nobody sees the console of a system that logins share: what it shows must not fill it up. */
void drain_console(struct system *system)
{
    char shown[SIZE_OF_SHOWN];
    if (read(system->master, shown, sizeof shown) < 0 && errno != EINTR && errno != EAGAIN) {
        close(system->master);
        system->master = -1;
    }
}
