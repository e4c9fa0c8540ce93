/* Messages: what comes over the channel, the items in them, and the ones that pid 1 writes.
 *
 * Input: what, why and step of an error; then a message after the other. */
#include "target.h"

static void walk(struct items from)
{
    for (struct items item; take(&from, &item);) {
        uint8_t *copy = fuzz_block(item.left);
        memcpy(copy, item.at, item.left);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *message;
    fuzz_begin(data, size);
    message = fuzz_block(LONGEST_MESSAGE);
    const char *what = fuzz_text(5000), *why = fuzz_text(5000), *step = fuzz_text(5000);
    size_t length = pack_error(message, fuzz_byte() % 3, what, why, (int8_t)fuzz_byte(), step);
    if (length > LONGEST_MESSAGE || message[0] != ERROR)
        fuzz_fail("an error that is too long");
    struct items items = {message + 1, length - 1}, item;
    size_t count = 0;
    while (take(&items, &item))
        count++;
    if (count != 6 || items.left)
        fuzz_fail("an error that cannot be read");
    if (pack_failure(message, 'i', fuzz_byte(), fuzz_byte()) != 10 || !*reason((int8_t)fuzz_byte()))
        fuzz_fail("a failure that cannot be read");
    if (!setjmp(fuzz_over)) {
        while (!fuzz_done()) {
            struct content *content = (struct content *)(void *)fuzz_block(sizeof *content);
            receive(50, content);
            if (content->size > sizeof content->bytes || content->attached > MOST_DESCRIPTORS)
                fuzz_fail("more came than there is room for");
            for (size_t i = 0; i < content->attached; i++)
                fuzz_close(content->descriptors[i]);
            walk((struct items){content->bytes, content->size});
        }
    }
    fuzz_end();
    return 0;
}
