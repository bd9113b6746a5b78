/* Which rows a step works on, so that steps are alike and nothing is multiplied twice.

   A step reads all weights, however few rows it has. So sentences do not leave a step emptier when they end: a slot that has
   room for another sentence takes it up, and as many steps as the longest sentence has do with the fewest slots. Rows of the
   input that are equal to the last bit (a word that occurs again, the borders of sentences) share their products with the
   input weights. Neither changes any number: what a row gets depends on nothing but that row. */

#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    long steps, slots, blocks;
    long *running;  /* [steps], never increasing: slots 0 .. running[t]-1 are in use */
    long *first;    /* [steps + 1]: a step's first place in the three below */
    long *row;      /* [total]: packed row */
    long *sentence; /* [total] */
    long *gate;     /* [total]: row of `input`, counted from its block's first */
    long *block;    /* [blocks + 1]: a block's first step */
    long *known;    /* [blocks + 1]: a block's first row of `input` */
    int *input;     /* [known[blocks], words]: the rows that differ */
    void *memory;
} Schedule;

/* The slot and the first step of every sentence, the longest first: into the slot that it fills best, else a new one. */
static void fill_slots(Schedule *s, long sentences, const long *length, long *slot, long *start, long *space) {
    long *filled = space, *next = filled + sentences, *place = next + sentences, *top = place + sentences; /* top: [steps + 1] */
    for (long room = 0; room <= s->steps; room++) top[room] = -1;
    s->slots = 0;
    for (long i = 0; i < sentences; i++) {
        long room = length[i];
        while (room < s->steps && top[room] < 0) room++;
        long found = top[room];
        if (found >= 0) {
            top[room] = next[found];
        } else {
            room = s->steps;
            found = s->slots++;
        }
        slot[i] = found;
        start[i] = s->steps - room;
        filled[found] = start[i] + length[i];
        room -= length[i];
        next[found] = top[room];
        top[room] = found;
    }
    for (long t = 0; t < s->steps; t++) s->running[t] = 0;
    for (long n = 0; n < s->slots; n++) s->running[filled[n] - 1]++;
    for (long t = s->steps - 2; t >= 0; t--) s->running[t] += s->running[t + 1];
    for (long t = 0; t < s->steps; t++) top[t + 1] = t + 1 < s->steps ? s->running[t + 1] : 0; /* slots filled further come first */
    for (long n = 0; n < s->slots; n++) place[n] = top[filled[n]]++;
    for (long i = 0; i < sentences; i++) slot[i] = place[slot[i]];
}

static unsigned mixed(const int *row, long words) {
    __m512i sum = _mm512_setzero_si512();
    for (long k = 0; k < words; k += 16) {
        const __mmask16 kept = words - k >= 16 ? 0xffff : (__mmask16)((1u << (words - k)) - 1);
        const __m512i part = _mm512_mullo_epi32(_mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(kept, row + k)), _mm512_set1_epi32(0x9e3779b1));
        sum = _mm512_xor_si512(part, _mm512_srli_epi32(part, 15));
    }
    unsigned lanes[16], found = 0;
    _mm512_storeu_si512(lanes, sum);
    for (int n = 0; n < 16; n++) found = (found ^ lanes[n]) * 0x85ebca6bu ^ found >> 13;
    return found ^ found >> 16;
}

/* Blocks of steps whose differing rows of x fit `most`, and those rows. `table` has a power of two of places, over 2 * most. */
static void find_blocks(Schedule *s, const int *x, long words, long most, long *table, long places) {
    long known = 0;
    s->blocks = 0;
    for (long t = 0; t < s->steps; t++) {
        if (!t || known - s->known[s->blocks - 1] + s->running[t] > most) {
            for (long n = 0; n < places; n++) table[n] = -1;
            s->block[s->blocks] = t;
            s->known[s->blocks++] = known;
        }
        const long base = s->known[s->blocks - 1];
        for (long n = s->first[t]; n < s->first[t + 1]; n++) {
            const int *row = x + s->row[n] * words;
            long place = mixed(row, words) & (places - 1);
            while (table[place] >= 0 && memcmp(row, s->input + table[place] * words, words * sizeof *row)) place = (place + 1) & (places - 1);
            if (table[place] < 0) {
                table[place] = known;
                memcpy(s->input + known++ * words, row, words * sizeof *row);
            }
            s->gate[n] = table[place] - base;
        }
    }
    s->block[s->blocks] = s->steps;
    s->known[s->blocks] = known;
}

/* For packed rows x [total, words], longest sentence first, of which step t has rows[t]; `most` is at least rows[0]. Returns
   whether there is no memory for it. */
static int make_schedule(Schedule *s, long steps, const long *rows, const int *x, long words, long most) {
    const long sentences = rows[0];
    long total = 0, places = 2;
    for (long t = 0; t < steps; t++) total += rows[t];
    if (most > total) most = total;
    while (places <= 2 * most) places *= 2;
    const long numbers = 4 * (steps + 1) + 3 * total + 6 * sentences + 2 * (steps + 1) + places;
    long *memory = s->memory = malloc(numbers * sizeof(long) + total * words * sizeof(int));
    if (!memory) return 1;
    s->steps = steps;
    s->running = memory, memory += steps + 1;
    s->first = memory, memory += steps + 1;
    s->block = memory, memory += steps + 1;
    s->known = memory, memory += steps + 1;
    s->row = memory, memory += total;
    s->sentence = memory, memory += total;
    s->gate = memory, memory += total;
    long *length = memory, *slot = length + sentences, *start = slot + sentences, *space = start + sentences;
    memory = space + 3 * sentences + steps + 1;
    long *packed = memory, *table = packed + steps + 1;
    s->input = (int *)(table + places);
    for (long t = 0; t < steps; t++)
        for (long i = t + 1 < steps ? rows[t + 1] : 0; i < rows[t]; i++) length[i] = t + 1;
    fill_slots(s, sentences, length, slot, start, space);
    s->first[0] = packed[0] = 0;
    for (long t = 0; t < steps; t++) {
        s->first[t + 1] = s->first[t] + s->running[t];
        packed[t + 1] = packed[t] + rows[t];
    }
    for (long i = 0; i < sentences; i++)
        for (long t = 0; t < length[i]; t++) {
            const long n = s->first[start[i] + t] + slot[i];
            s->row[n] = packed[t] + i;
            s->sentence[n] = i;
        }
    find_blocks(s, x, words, most, table, places);
    return 0;
}
