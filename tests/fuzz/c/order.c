/* Orders: a file that the monitor may have written, and all of pid 1's life after it, payloads included.
 *
 * Input: whether to mend magic, size and checksum; the file behind its size; what happens. */
#include "target.h"

enum { MEND = 1, LISTENS = 2 };

static uint32_t crc_of(const uint8_t *data, size_t size)
{
    static uint32_t table[256];
    uint32_t crc = ~0U;
    for (uint32_t i = 0; !table[255] && i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320U : 0);
    }
    for (size_t i = 0; i < size; i++)
        crc = table[(crc ^ data[i]) & 0xFF] ^ crc >> 8;
    return ~crc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_begin(data, size);
    const uint8_t how = fuzz_byte();
    size_t length;
    struct order *order = (struct order *)(void *)fuzz_part(&length);
    if (length >= sizeof *order && how & MEND) {
        order->magic = ORDER_MAGIC, order->size = (uint32_t)length, order->check = 0;
        order->check = crc_of((const uint8_t *)order, length);
    }
    fuzz_file = order, fuzz_file_size = length;
    if (!setjmp(fuzz_over))
        run_container(50, 51, how & LISTENS ? 52 : -1, fuzz_fork);
    fuzz_end();
    return 0;
}
