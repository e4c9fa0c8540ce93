/* What a policy holds against the requests of an SFTP client, which pass by on their way to sftp-server. */
#ifndef UPLOADS_H
#define UPLOADS_H

#include <stdint.h>

/* What is opened for writing is new; what is opened at all is new; anything. plan/program.py has them from here. */
enum { ONLY_NEW = '+', NOTHING_OLD = '!', MODES_ONLY = '=' };

struct uploads {
    char rule;
    uint32_t mask; /* bits that no mode has which the client sets */
};

void pass_requests(int from, int to, const struct uploads *uploads);

#endif
