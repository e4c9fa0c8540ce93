/* A name service that answers by name and by number and lists nobody, as sssd does (nss(5), enumerate = false).
 * It reads /etc/directory/passwd and /etc/directory/group, in the form of the host's own files. */
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Tells no letters apart and takes a name with its domain, as sssd does for a directory of the kind of AD. */
static int is_name(const char *found, const char *asked)
{
    size_t length = strcspn(asked, "@");
    return (!asked[length] || !strcasecmp(asked + length, "@example.org")) && strlen(found) == length &&
           !strncasecmp(found, asked, length);
}

static enum nss_status passwd(const char *name, uid_t uid, struct passwd *result, char *buffer, size_t size, int *error)
{
    FILE *file = fopen("/etc/directory/passwd", "re");
    enum nss_status status = NSS_STATUS_NOTFOUND;
    struct passwd *found;
    *error = ENOENT;
    if (!file)
        return NSS_STATUS_UNAVAIL;
    while (fgetpwent_r(file, result, buffer, size, &found) == 0)
        if (name ? is_name(found->pw_name, name) : found->pw_uid == uid) {
            status = NSS_STATUS_SUCCESS;
            break;
        }
    fclose(file);
    return status;
}

static enum nss_status group(const char *name, gid_t gid, struct group *result, char *buffer, size_t size, int *error)
{
    FILE *file = fopen("/etc/directory/group", "re");
    enum nss_status status = NSS_STATUS_NOTFOUND;
    struct group *found;
    *error = ENOENT;
    if (!file)
        return NSS_STATUS_UNAVAIL;
    while (fgetgrent_r(file, result, buffer, size, &found) == 0)
        if (name ? !strcmp(found->gr_name, name) : found->gr_gid == gid) {
            status = NSS_STATUS_SUCCESS;
            break;
        }
    fclose(file);
    return status;
}

enum nss_status _nss_directory_getpwnam_r(const char *name, struct passwd *r, char *b, size_t n, int *e)
{
    return passwd(name, 0, r, b, n, e);
}

enum nss_status _nss_directory_getpwuid_r(uid_t uid, struct passwd *r, char *b, size_t n, int *e)
{
    return passwd(NULL, uid, r, b, n, e);
}

enum nss_status _nss_directory_getgrnam_r(const char *name, struct group *r, char *b, size_t n, int *e)
{
    return group(name, 0, r, b, n, e);
}

enum nss_status _nss_directory_getgrgid_r(gid_t gid, struct group *r, char *b, size_t n, int *e)
{
    return group(NULL, gid, r, b, n, e);
}

enum nss_status _nss_directory_initgroups_dyn(const char *user, gid_t skip, long *start, long *size, gid_t **groups,
                                              long limit, int *error)
{
    FILE *file = fopen("/etc/directory/group", "re");
    char buffer[4096];
    struct group entry, *found;
    *error = 0;
    if (!file)
        return NSS_STATUS_UNAVAIL;
    while (fgetgrent_r(file, &entry, buffer, sizeof buffer, &found) == 0)
        for (char **member = found->gr_mem; *member; member++) {
            if (strcmp(*member, user) || found->gr_gid == skip)
                continue;
            if (*start == *size) {
                long bigger = limit > 0 && 2 * *size > limit ? limit : 2 * *size;
                gid_t *more = bigger > *size ? realloc(*groups, bigger * sizeof **groups) : NULL;
                if (!more)
                    break;
                *groups = more;
                *size = bigger;
            }
            (*groups)[(*start)++] = found->gr_gid;
        }
    fclose(file);
    return NSS_STATUS_SUCCESS;
}
