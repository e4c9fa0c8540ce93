/* The bare relay of the terminal table: a pair of terminals, poll, read, write, and nothing else.

   relay COMMAND [ARGUMENT...]   The command gets a terminal of its own; its bytes go to and from ours. */
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static char buffer[65536];

static int copy(int from, int to)
{
    ssize_t size = read(from, buffer, sizeof buffer);
    for (ssize_t done = 0; done < size;) {
        ssize_t written = write(to, buffer + done, (size_t)(size - done));
        if (written < 0)
            return 0;
        done += written;
    }
    return size > 0;
}

int main(int count, char **words)
{
    struct termios modes, raw;
    struct winsize size;
    int master, status = 1;
    if (count < 2 || tcgetattr(0, &modes) || ioctl(0, TIOCGWINSZ, &size))
        return 2;
    pid_t child = forkpty(&master, NULL, &modes, &size);
    if (child == 0) {
        execvp(words[1], words + 1);
        _exit(127);
    }
    raw = modes;
    cfmakeraw(&raw);
    tcsetattr(0, TCSANOW, &raw);
    struct pollfd sides[] = {{0, POLLIN, 0}, {master, POLLIN, 0}};
    while (poll(sides, 2, -1) > 0 || errno == EINTR) {
        if (sides[1].revents && !copy(master, 1))
            break;
        if (sides[0].revents && !copy(0, master))
            break;
    }
    tcsetattr(0, TCSADRAIN, &modes);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
