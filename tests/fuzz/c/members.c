/* Members: everything that those outside can send to pid 1, in any order, and payloads that come and go.
 *
 * Input: the flags of the order, its times, names and request; then what happens. */
#include "target.h"

enum { WHOLE = 0x80 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct order order = {0};
    struct container container = {.order = &order, .channel = 50, .listener = 51, .fork = fuzz_fork};

    fuzz_begin(data, size);
    const uint8_t how = fuzz_byte();
    order.flags = how & (FLAG_SHARED | FLAG_CALL | FLAG_COUNTED);
    order.linger_ms = (int8_t)fuzz_byte() * 16;
    order.grace_ms = fuzz_byte() * 16;
    container.session.at = fuzz_part(&container.session.left);
    container.digest.at = fuzz_part(&container.digest.left);
    container.image.at = fuzz_part(&container.image.left);
    container.request.at = fuzz_part(&container.request.left);
    fuzz_file = container.request.at, fuzz_file_size = container.request.left; /* who joins asks for the same */
    script_start(&container.making);
    if (how & WHOLE) {
        /* Its descriptors are none of those that are counted. */
        const pid_t init = fuzz_fork();
        container.making.system = (struct system){.is_whole = true,
                                                  .init = init < 0 ? 0 : init,
                                                  .told = 60,
                                                  .master = 61,
                                                  .slave = 62,
                                                  .groups = 63,
                                                  .logins = 64};
    }
    fuzz_counts = true;
    if (!setjmp(fuzz_over))
        attend(&container);
    fuzz_end();
    return 0;
}
