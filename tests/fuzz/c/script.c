/* Scripts: records and texts that make no sense, on a kernel that answers anything.
 *
 * Input: the number of records, the size of the texts, records, texts, the kernel's answers. */
#include "target.h"

enum { MOST_RECORDS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script = {.channel = 50, .fork = fuzz_fork};
    struct failure failure;
    uint16_t texts;

    fuzz_begin(data, size);
    const size_t wanted = fuzz_byte() % MOST_RECORDS;
    fuzz_bytes(&texts, sizeof texts);
    size_t got;
    script.records = (const struct record *)(const void *)fuzz_rest(wanted * sizeof *script.records, &got);
    script.count = got / sizeof *script.records;
    script.size = texts;
    script.texts = fuzz_block(script.size + MARGIN);
    memset(script.texts, 0, script.size + MARGIN);
    fuzz_bytes(script.texts, script.size);
    fuzz_texts = script.texts, fuzz_texts_size = script.size;
    script_start(&script);
    if (!setjmp(fuzz_over) && !script_run(&script, &failure) && failure.record >= script.count)
        fuzz_fail("a record that is not there has failed");
    fuzz_end();
    return 0;
}
