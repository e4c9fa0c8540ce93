/* In the place of libFuzzer where there is no clang: mutates the seeds, and what it has made of them, blindly.
 *
 * driver SECONDS RUNS SEED KEPT DIRECTORY: until the time or the number of runs is over; RUNS 0 is no limit. The
 * input that broke something is in KEPT. */
#include "target.h"

#include <sanitizer/common_interface_defs.h>

enum { MOST_SEEDS = 4096, LARGEST = 65536, ARGUMENT_COUNT = 6 };

static struct {
    uint8_t *data;
    size_t size;
} seeds[MOST_SEEDS];
static size_t seed_count;
static uint64_t state;
static uint8_t current[LARGEST];
static size_t current_size;
static const char *kept;

static uint32_t chance(uint32_t below)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static void keep_input(void)
{
    FILE *file = fopen(kept, "wb");
    if (file) {
        fwrite(current, 1, current_size, file);
        fclose(file);
    }
}

static void add_seed(const uint8_t *data, size_t size)
{
    const size_t place = seed_count < MOST_SEEDS ? seed_count++ : chance(MOST_SEEDS);
    free(seeds[place].data);
    seeds[place].data = malloc(size ? size : 1);
    seeds[place].size = size;
    if (!seeds[place].data)
        fuzz_fail("out of memory");
    memcpy(seeds[place].data, data, size);
}

static void read_seeds(const char *directory)
{
    DIR *listing = opendir(directory);
    for (const struct dirent *entry; listing && (entry = readdir(listing));) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (file) {
            const size_t size = fread(current, 1, sizeof current, file);
            fclose(file);
            add_seed(current, size);
        }
    }
    if (listing)
        closedir(listing);
    if (!seed_count)
        add_seed((const uint8_t *)"", 0);
}

static void mutate(void)
{
    static const uint32_t odd[] = {0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
    const size_t from = chance((uint32_t)seed_count);
    current_size = seeds[from].size;
    memcpy(current, seeds[from].data, current_size);
    for (uint32_t times = 1 + chance(8); times--;) {
        const size_t at = chance((uint32_t)current_size + 1);
        const size_t length = chance(16);
        const size_t other = chance((uint32_t)seed_count);
        switch (chance(6)) {
        case 0: /* another bit */
            if (at < current_size)
                current[at] ^= (uint8_t)(1U << chance(8));
            break;
        case 1: /* an odd number */
            if (at + 4 <= current_size)
                memcpy(current + at, &odd[chance(sizeof odd / sizeof *odd)], 1U << chance(3));
            break;
        case 2: /* cut */
            if (at + length <= current_size) {
                memmove(current + at, current + at + length, current_size - at - length);
                current_size -= length;
            }
            break;
        case 3: /* more of it, by chance */
            if (current_size + length <= LARGEST) {
                memmove(current + at + length, current + at, current_size - at);
                for (size_t i = 0; i < length; i++)
                    current[at + i] = (uint8_t)chance(256);
                current_size += length;
            }
            break;
        case 4: /* another byte */
            if (at < current_size)
                current[at] = (uint8_t)chance(256);
            break;
        default: /* goes on as another one */
            if (at < seeds[other].size) {
                memcpy(current + at, seeds[other].data + at, seeds[other].size - at);
                current_size = seeds[other].size;
            }
        }
    }
}

int main(int count, char **words)
{
    if (count != ARGUMENT_COUNT)
        return 2;
    const time_t end = time(NULL) + atol(words[1]);
    const unsigned long most = strtoul(words[2], NULL, 10);
    unsigned long runs = 0;
    state = strtoul(words[3], NULL, 10) | 1;
    kept = words[4];
    read_seeds(words[5]);
    __sanitizer_set_death_callback(keep_input);
    for (size_t i = 0; i < seed_count; i++, runs++) {
        memcpy(current, seeds[i].data, current_size = seeds[i].size);
        LLVMFuzzerTestOneInput(current, current_size);
    }
    while ((!most || runs < most) && (runs % 256 || time(NULL) < end)) {
        mutate();
        LLVMFuzzerTestOneInput(current, current_size);
        if (!chance(64))
            add_seed(current, current_size);
        runs++;
    }
    fprintf(stderr, "stat::number_of_executed_units: %lu\n", runs);
    return 0;
}
