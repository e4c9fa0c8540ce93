/* SFTP requests between the client and the server, changed where the policy's words say more than the server can. */
#define _GNU_SOURCE
#include "uploads.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* Of the SFTP protocol, version 3 (draft-ietf-secsh-filexfer-02). */
enum { FXP_OPEN = 3, FXP_SETSTAT = 9, FXP_FSETSTAT = 10, FXP_EXTENDED = 200 };
enum { FXF_WRITES = 2 | 4 | 8 | 16, FXF_CREATE = 8, FXF_ONLY_NEW = 32 };
enum { ATTR_SIZE = 1, ATTR_IDS = 2, ATTR_MODE = 4 };
/* Nothing longer is a request (sftp-common.h, SFTP_MAX_MSG_LENGTH). */
enum { HEAD = 5, LARGEST_REQUEST = 256 * 1024 };
static const char LSETSTAT[] = "lsetstat@openssh.com";

static uint32_t number_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool read_whole(int from, uint8_t *to, size_t size)
{
    while (size) {
        const ssize_t got = read(from, to, size);
        if (got <= 0)
            return false;
        to += got, size -= (size_t)got;
    }
    return true;
}

static bool write_whole(int to, const uint8_t *from, size_t size)
{
    while (size) {
        const ssize_t put = write(to, from, size);
        if (put <= 0)
            return false;
        from += put, size -= (size_t)put;
    }
    return true;
}

/* What is left of a request from one place on. */
struct rest {
    uint8_t *at;
    size_t left;
};

static bool skip(struct rest *rest, size_t size)
{
    if (size > rest->left)
        return false;
    rest->at += size, rest->left -= size;
    return true;
}

static bool skip_text(struct rest *rest)
{
    return rest->left >= 4 && skip(rest, 4 + (size_t)number_at(rest->at));
}

/* Have a request to open make the file or fail. */
static bool open_only_new(struct rest rest, bool reading_too)
{
    if (!skip(&rest, 4) || !skip_text(&rest) || rest.left < 4)
        return false;
    uint8_t *flags = rest.at + 3;
    if (reading_too || *flags & FXF_WRITES)
        *flags |= FXF_CREATE | FXF_ONLY_NEW | (reading_too ? 2 : 0);
    return true;
}

/* Take from the mode that a request sets what the umask takes from that of a new file, which the server sees to. */
static bool hold_mode(uint8_t kind, struct rest rest, uint32_t mask)
{
    if (!skip(&rest, 4))
        return false;
    if (kind == FXP_EXTENDED) {
        const uint8_t *name = rest.at;
        if (!skip_text(&rest))
            return false;
        if (number_at(name) != sizeof LSETSTAT - 1 || memcmp(name + 4, LSETSTAT, sizeof LSETSTAT - 1) != 0)
            return true;
    }
    if (!skip_text(&rest) || rest.left < 4)
        return false;
    const uint32_t given = number_at(rest.at);
    if (!skip(&rest, 4U + (given & ATTR_SIZE ? 8U : 0U) + (given & ATTR_IDS ? 8U : 0U)))
        return false;
    if (!(given & ATTR_MODE))
        return true;
    if (rest.left < 4)
        return false;
    rest.at[2] &= (uint8_t)~(mask >> 8);
    rest.at[3] &= (uint8_t)~mask;
    return true;
}

/* Change a request as the policy wants it; false for one that is none. */
static bool change(uint8_t kind, struct rest rest, const struct uploads *uploads)
{
    if (kind == FXP_OPEN)
        return uploads->rule == MODES_ONLY || open_only_new(rest, uploads->rule == NOTHING_OLD);
    return !uploads->mask || hold_mode(kind, rest, uploads->mask);
}

static bool pass_unseen(int from, int to, uint8_t *data, size_t room, size_t left)
{
    for (size_t size = HEAD; size; left -= size) {
        if (!write_whole(to, data, size))
            return false;
        size = left < room ? left : room;
        if (!read_whole(from, data, size))
            return false;
    }
    return true;
}

/* Pass on what the client sends; ends with it, or at what is no request. */
void pass_requests(int from, int to, const struct uploads *uploads)
{
    static uint8_t data[HEAD + LARGEST_REQUEST];
    while (read_whole(from, data, HEAD)) {
        size_t left = number_at(data);
        const uint8_t kind = data[4];
        if (!left--)
            return;
        if (kind != FXP_OPEN && kind != FXP_SETSTAT && kind != FXP_FSETSTAT && kind != FXP_EXTENDED) {
            if (!pass_unseen(from, to, data, sizeof data, left))
                return;
            continue;
        }
        if (left > LARGEST_REQUEST || !read_whole(from, data + HEAD, left) ||
            !change(kind, (struct rest){data + HEAD, left}, uploads) || !write_whole(to, data, HEAD + left))
            return;
    }
}
