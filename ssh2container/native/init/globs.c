/* File name patterns in a listed command, expanded inside the container where the files are.
 *
 * The shell that would do it does not run, so a pattern of scp -f or rsync needs this. Patterns are glob(7)'s,
 * over bytes; a pattern that matches nothing stays as it was typed, as in sh. The C library's glob(3) takes
 * exponential time for some patterns and looks up users: here the pattern is a client's. A pattern can also name
 * the same files over and over again (STAR/../STAR/..), so what all patterns of a command may cost is bounded: more
 * would not fit into the arguments of a program in any case (execve(2), E2BIG).
 */
#define _GNU_SOURCE
#include "container.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_NAMES = 1 << 17, MOST_BYTES = 4 << 20, MOST_ENTRIES = 1 << 20 };
static struct {
    size_t names, bytes, entries;
} spent;

static bool spend(size_t *sum, size_t amount, size_t most)
{
    if (amount <= most - *sum) {
        *sum += amount;
        return true;
    }
    errno = E2BIG;
    return false;
}

/* Read the element of a bracket at *at, which a backslash may quote. */
static uint8_t member(const uint8_t *pattern, size_t size, size_t *at)
{
    if (pattern[*at] == '\\' && *at + 1 < size)
        ++*at;
    return pattern[(*at)++];
}

/* The length of the bracket expression at `at` when it matches byte, 0 when not, -1 when it has no end. */
static long bracket(uint8_t byte, const uint8_t *pattern, size_t size, size_t at)
{
    size_t position = at + 1;
    bool negated = position < size && (pattern[position] == '!' || pattern[position] == '^');
    position += negated;
    const size_t start = position;
    bool found = false;
    while (position < size) {
        if (pattern[position] == ']' && position > start)
            return found != negated ? (long)(position + 1 - at) : 0;
        uint8_t first = member(pattern, size, &position), last = first;
        if (position + 1 < size && pattern[position] == '-' && pattern[position + 1] != ']') {
            position++;
            last = member(pattern, size, &position);
        }
        found = found || (first <= byte && byte <= last);
    }
    return -1;
}

/* The length of the pattern's element at `at` when it matches byte, else 0. */
static size_t one(uint8_t byte, const uint8_t *pattern, size_t size, size_t at)
{
    if (at >= size)
        return 0;
    if (pattern[at] == '?')
        return 1;
    if (pattern[at] == '\\' && at + 1 < size)
        return pattern[at + 1] == byte ? 2 : 0;
    if (pattern[at] == '[') {
        long inside = bracket(byte, pattern, size, at);
        if (inside >= 0)
            return (size_t)inside;
    }
    return pattern[at] == byte;
}

/* Whether pattern matches the whole of name; neither holds a slash. */
bool matches(const uint8_t *name, size_t name_size, const uint8_t *pattern, size_t size)
{
    size_t position = 0, at = 0, star = 0, retry = 0;
    bool starred = false;
    while (position < name_size) {
        if (at < size && pattern[at] == '*') {
            starred = true, star = at++, retry = position;
            continue;
        }
        size_t length = one(name[position], pattern, size, at);
        if (length) {
            at += length, position++;
        } else if (starred) {
            /* The last star takes one more character; earlier stars need no second try. */
            position = ++retry, at = star + 1;
        } else {
            return false;
        }
    }
    while (at < size && pattern[at] == '*')
        at++;
    return at == size;
}

bool add_word(struct words *words, char *word)
{
    if (!word)
        return false;
    if (words->count + 1 >= words->room) {
        size_t room = words->room ? 2 * words->room : 16;
        char **list = reallocarray(words->list, room, sizeof *list);
        if (!list)
            return false;
        words->list = list, words->room = room;
    }
    words->list[words->count++] = word;
    words->list[words->count] = NULL;
    return true;
}

static char *join(const char *base, const char *name)
{
    char *path;
    const char *between = !*base || !strcmp(base, "/") ? "" : "/";
    if (!spend(&spent.names, 1, MOST_NAMES) || !spend(&spent.bytes, strlen(base) + strlen(name) + 2, MOST_BYTES))
        return NULL;
    return asprintf(&path, "%s%s%s", base, between, name) < 0 ? NULL : path;
}

static int by_bytes(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Add every name in base that part matches, in order. */
static bool add_entries(struct words *found, const char *base, const char *part)
{
    const bool hidden = part[0] == '.' || (part[0] == '\\' && part[1] == '.');
    const size_t first = found->count;
    DIR *listing = opendir(*base ? base : ".");
    if (!listing)
        return true;
    bool good = true;
    for (const struct dirent *entry; good && (entry = readdir(listing));) {
        const char *name = entry->d_name;
        if (!(good = spend(&spent.entries, 1, MOST_ENTRIES)))
            break;
        if (!strcmp(name, ".") || !strcmp(name, "..") || (name[0] == '.') != hidden)
            continue;
        if (matches((const uint8_t *)name, strlen(name), (const uint8_t *)part, strlen(part)))
            good = add_word(found, join(base, name));
    }
    const int number = errno;
    closedir(listing);
    errno = number;
    if (good && found->count > first)
        qsort(found->list + first, found->count - first, sizeof *found->list, by_bytes);
    return good;
}

static void unquote(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from == '\\' && from[1])
            from++;
        *to++ = *from;
    }
    *to = 0;
}

static bool add_plain(struct words *found, const char *base, const char *part)
{
    struct stat status;
    char *name = strdup(part), *path;
    if (!name)
        return false;
    unquote(name);
    path = join(base, name);
    free(name);
    if (!path)
        return false;
    return lstat(path, &status) ? (free(path), true) : add_word(found, path);
}

/* Find all paths that pattern matches; pattern is used up. What is no longer needed goes with the process's exec. */
static bool find_paths(struct words *found, char *pattern)
{
    size_t length = strlen(pattern);
    const bool directories = length && pattern[length - 1] == '/';
    if (!add_word(found, *pattern == '/' ? "/" : ""))
        return false;
    while (length && pattern[length - 1] == '/')
        pattern[--length] = 0;
    while (*pattern == '/')
        pattern++;
    for (char *part; (part = strsep(&pattern, "/"));) {
        struct words next = {0};
        for (size_t i = 0; i < found->count; i++)
            if (!(strpbrk(part, "*?[") ? add_entries : add_plain)(&next, found->list[i], part))
                return false;
        *found = next;
    }
    size_t kept = 0;
    for (size_t i = 0; i < found->count; i++) {
        struct stat status;
        if (!directories)
            kept++;
        else if (!stat(found->list[i], &status) && S_ISDIR(status.st_mode) &&
                 asprintf(&found->list[kept++], "%s/", found->list[i]) < 0)
            return false;
    }
    found->count = kept;
    return true;
}

/* The pattern with a leading "~" replaced by home, whose own bytes are no pattern. */
static char *at_home(const char *home, const char *rest)
{
    char *whole = malloc(2 * strlen(home) + strlen(rest) + 1), *to = whole;
    if (!whole)
        return NULL;
    for (; *home; home++) {
        if (strchr("*?[]\\", *home))
            *to++ = '\\';
        *to++ = *home;
    }
    strcpy(to, rest);
    return whole;
}

/* Add what pattern matches, or literal when it matches nothing. home: what a leading "~" stands for. */
bool expand(struct words *words, const char *literal, const char *pattern, const char *home)
{
    struct words found = {0};
    char *plain, *whole;
    if (pattern[0] == '~' && (!pattern[1] || pattern[1] == '/')) {
        whole = at_home(home, pattern + 1);
        if (asprintf(&plain, "%s%s", home, literal + 1) < 0)
            return false;
    } else {
        whole = strdup(pattern);
        plain = strdup(literal);
    }
    if (!whole || !plain || !find_paths(&found, whole))
        return false;
    if (!found.count)
        return add_word(words, plain);
    for (size_t i = 0; i < found.count; i++)
        if (!add_word(words, found.list[i]))
            return false;
    return true;
}
