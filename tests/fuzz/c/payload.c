/* Payloads: the program that is asked for, by the container's own order or by who joins.
 *
 * Input: whether somebody joins, and with what; the order's request; the joining one's; the kernel's answers. */
#include "target.h"

enum { JOINS = 1, CALLS = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct order order = {0};
    struct container container = {.order = &order, .channel = 50, .listener = -1};
    struct demand demand = {.end = 50, .file = -1, .standard = {-1, -1, -1}};
    size_t length;

    fuzz_begin(data, size);
    const uint8_t how = fuzz_byte();
    order.flags = how & CALLS ? FLAG_CALL : 0;
    container.image.at = fuzz_part(&container.image.left);
    container.request.at = fuzz_part(&container.request.left);
    if (how & JOINS) {
        fuzz_file = fuzz_part(&length), fuzz_file_size = length;
        demand.file = 53;
        for (int i = 0; i < 3; i++)
            demand.standard[i] = how >> (2 + i) & 1 ? 60 + i : -1;
    }
    if (!setjmp(fuzz_over))
        start_payload(&container, &demand, 54);
    fuzz_end();
    return 0;
}
