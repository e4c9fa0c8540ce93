/* Patterns: what matches what, and their expansion in directories that hold anything.
 *
 * Input: a name, a pattern, a home, a word; then what lies in the directories. */
#include "target.h"

static bool holds(const char *name, const char *pattern)
{
    return matches((const uint8_t *)name, strlen(name), (const uint8_t *)pattern, strlen(pattern));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct words words = {0};
    size_t lengths[2];

    fuzz_begin(data, size);
    const char *name = fuzz_text(1000), *home = fuzz_text(1000), *literal = fuzz_text(1000);
    char *escaped = (char *)fuzz_block(2 * strlen(name) + 2), *to = escaped;
    for (const char *from = name; *from; *to++ = *from++)
        *to++ = '\\';
    *to = 0;
    if (!holds(name, escaped) || !holds(name, "*"))
        fuzz_fail("a name that does not match itself");
    strcpy(to, "*");
    if (!holds(name, escaped) || (*name && holds(name, "")))
        fuzz_fail("a name that does not match what it begins with");
    const uint8_t *bytes[] = {fuzz_part(&lengths[0]), fuzz_part(&lengths[1])};
    matches(bytes[0], lengths[0], bytes[1], lengths[1]);
    const char *pattern = fuzz_text(1000);
    if (!setjmp(fuzz_over) && *literal && expand(&words, literal, pattern, home) &&
        (!words.count || words.list[words.count]))
        fuzz_fail("a list of words without words, or without an end");
    for (size_t i = 0; i < words.count; i++)
        fuzz_path(words.list[i]);
    fuzz_end();
    return 0;
}
