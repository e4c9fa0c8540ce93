/* What the targets share; each is one function that is given one input. */
#ifndef TARGET_H
#define TARGET_H
#define FUZZ_ITSELF
#include "doubles.h"

#include "../../../ssh2container/native/init/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Take a part of the input that stands behind its size, in memory of exactly that size. */
static inline uint8_t *fuzz_part(size_t *size)
{
    uint16_t wanted;
    fuzz_bytes(&wanted, sizeof wanted);
    return fuzz_rest(wanted, size);
}
#endif
