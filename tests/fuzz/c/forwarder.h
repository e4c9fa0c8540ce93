/* What the targets of the forwarder share. */
#ifndef FUZZ_FORWARDER_H
#define FUZZ_FORWARDER_H
#include "target.h"

#include "../../../ssh2container/native/forwarder/forwarder.h"
#include "../../../ssh2container/native/forwarder/names.h"

#include <string.h>

/* Read a configuration from the input; false if it is none. */
static inline bool fuzz_configuration(struct configuration *configuration)
{
    size_t size, line;
    const uint8_t *given = fuzz_part(&size);
    char *text = (char *)fuzz_block(size + 1);
    memcpy(text, given, size);
    text[size] = 0;
    if (!rules_read(configuration, text, &line))
        return true;
    if (!line)
        fuzz_fail("an error without its line");
    return false;
}

static inline void fuzz_forget(struct configuration *configuration)
{
    (free)(configuration->rules);
    (free)(configuration->published);
    memset(configuration, 0, sizeof *configuration);
}

static inline struct address fuzz_address(void)
{
    struct address address = {.six = fuzz_byte() & 1};
    fuzz_bytes(address.bytes, address_size(&address));
    return address;
}
#endif
