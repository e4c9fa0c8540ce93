/* The launcher: words and variables of any length and number, and links that point anywhere.
 *
 * Input: how many words and variables; each of them; the kernel's answers. */
#include "target.h"

int launcher_main(int count, char **words, char **variables);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_begin(data, size);
    const size_t count = fuzz_byte() % 32, variable_count = fuzz_byte() % 32;
    char **words = (char **)(void *)fuzz_block((count + 1) * sizeof *words);
    char **variables = (char **)(void *)fuzz_block((variable_count + 1) * sizeof *variables);
    for (size_t i = 0; i < count; i++)
        words[i] = fuzz_text(20000);
    for (size_t i = 0; i < variable_count; i++)
        variables[i] = fuzz_text(20000);
    words[count] = variables[variable_count] = NULL;
    if (!setjmp(fuzz_over))
        launcher_main((int)count, words, variables);
    fuzz_end();
    return 0;
}
