/* Messages of the domain name system (RFC 1035, 3596). */
#include "dns.h"
#include "packet.h"

#include <string.h>

enum {
    CLASS_IN = 1,
    TYPE_A = 1,
    TYPE_CNAME = 5,
    TYPE_AAAA = 28,
    MOST_ALIASES = 16,
    MOST_RECORDS = 1024,
    RECORD = 10, /* of a record's fields between its name and its data */
    FLAG_ANSWER = 0x80,
    OPERATION = 0x78,
};

struct record {
    char name[DNS_NAME];
    unsigned type, class;
    uint32_t seconds;
    size_t data, size;
};

/* Read a name as text; return where it ends in the message, 0 if it is none. A pointer leads back, each further than
 * the one before, so there are no circles. */
static size_t read_name(const uint8_t *message, size_t size, size_t at, bool pointers, char text[DNS_NAME])
{
    size_t end = 0, length = 0, furthest = at;
    for (;;) {
        if (at >= size)
            return 0;
        const size_t label = message[at];
        if (label >= 0xC0) {
            if (!pointers || at + 1 >= size)
                return 0;
            const size_t to = get16(message + at) & 0x3FFF;
            if (!end)
                end = at + 2;
            if (to >= furthest || to < DNS_HEADER)
                return 0;
            at = furthest = to;
            continue;
        }
        if (label > 63 || at + 1 + label > size || length + label + 1 >= DNS_NAME)
            return 0;
        at++;
        if (!label)
            break;
        if (length)
            text[length++] = '.';
        for (size_t i = 0; i < label; i++) {
            const uint8_t letter = message[at + i];
            if (letter <= ' ' || letter == '.' || letter >= 0x7F)
                return 0; /* of no host: not to be mistaken for one */
            text[length++] = (char)(letter >= 'A' && letter <= 'Z' ? letter + 'a' - 'A' : letter);
        }
        at += label;
    }
    text[length] = 0;
    return end ? end : at;
}

bool dns_read_question(const uint8_t *message, size_t size, struct dns_question *question)
{
    if (size < DNS_HEADER || message[2] & OPERATION || get16(message + 4) != 1)
        return false;
    const size_t end = read_name(message, size, DNS_HEADER, false, question->name);
    if (!end || end + 4 > size || get16(message + end + 2) != CLASS_IN)
        return false;
    question->type = get16(message + end);
    question->end = end + 4;
    return true;
}

bool dns_is_answer(const uint8_t *message, size_t size)
{
    return size >= DNS_HEADER && message[2] & FLAG_ANSWER;
}

/* Read the record at an offset; return where the next one begins, 0 if it is broken. A name that is none of a host is
 * "", which nothing is compared with. */
static size_t read_record(const uint8_t *message, size_t size, size_t at, struct record *record)
{
    size_t end = read_name(message, size, at, true, record->name);
    if (!end) {
        record->name[0] = 0;
        for (end = at; end < size && message[end] && message[end] < 0xC0; end += 1 + (size_t)message[end])
            ;
        if (end >= size)
            return 0;
        end += message[end] ? 2 : 1;
    }
    if (end + RECORD > size)
        return 0;
    record->type = get16(message + end);
    record->class = get16(message + end + 2);
    record->seconds = get32(message + end + 4);
    record->size = get16(message + end + 8);
    record->data = end + RECORD;
    return record->size > size - record->data ? 0 : record->data + record->size;
}

static uint32_t shorter(uint32_t one, uint32_t other)
{
    return one < other ? one : other;
}

/* Add what the records have for one name; return whether it is an alias, of the name in next. */
static bool collect(const uint8_t *message, size_t size, size_t at, const char *name, char next[DNS_NAME],
                    uint32_t *seconds, struct dns_address *found, size_t most, size_t *count)
{
    size_t records = get16(message + 6);
    bool alias = false;
    struct record record;
    for (records = records < MOST_RECORDS ? records : MOST_RECORDS; records; records--) {
        if (!(at = read_record(message, size, at, &record)))
            break;
        if (record.class != CLASS_IN || !record.name[0] || strcmp(record.name, name))
            continue;
        const bool six = record.type == TYPE_AAAA;
        if ((record.type == TYPE_A && record.size == 4) || (six && record.size == 16)) {
            if (*count == most)
                break;
            struct dns_address *one = &found[(*count)++];
            memset(one, 0, sizeof *one);
            one->address.six = six;
            memcpy(one->address.bytes, message + record.data, record.size);
            one->seconds = shorter(*seconds, record.seconds);
        } else if (record.type == TYPE_CNAME && !alias && read_name(message, size, record.data, true, next)) {
            alias = true;
            *seconds = shorter(*seconds, record.seconds);
        }
    }
    return alias && next[0];
}

size_t dns_addresses(const uint8_t *message, size_t size, const struct dns_question *question,
                     struct dns_address *found, size_t most)
{
    char name[DNS_NAME], next[DNS_NAME];
    uint32_t seconds = UINT32_MAX;
    size_t count = 0;
    if (!dns_is_answer(message, size) || !question->name[0])
        return 0;
    memcpy(name, question->name, sizeof name);
    for (int aliases = 0; aliases < MOST_ALIASES; aliases++) {
        if (!collect(message, size, question->end, name, next, &seconds, found, most, &count))
            break;
        memcpy(name, next, sizeof name);
    }
    return count;
}

size_t dns_refuse(uint8_t *message, const struct dns_question *question, unsigned code)
{
    message[2] = (uint8_t)(FLAG_ANSWER | (message[2] & (OPERATION | 1)));
    message[3] = (uint8_t)(0x80 | code); /* recursion is available */
    memset(message + 6, 0, 6);
    return question->end;
}
