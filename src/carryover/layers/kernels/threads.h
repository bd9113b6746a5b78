/* Work shared out among PyTorch's own threads, which stand ready between two of its operations, where its OpenMP has the usual
   way in; else done by the caller alone. */

#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_DEFAULT */
#endif

#include <dlfcn.h>
#include <stdatomic.h>

typedef void Parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);
static Parallel *parallel;

__attribute__((constructor)) static void find_threads(void) { *(void **)&parallel = dlsym(RTLD_DEFAULT, "GOMP_parallel"); }

typedef struct {
    void (*work)(const void *task, long first, long stop);
    const void *task;
    long parts, each;
    atomic_long next; /* part that nobody has taken */
} Share;

static void take_parts(void *data) {
    Share *share = data;
    for (long part; (part = atomic_fetch_add(&share->next, share->each)) < share->parts;)
        share->work(share->task, part, part + share->each < share->parts ? part + share->each : share->parts);
}

/* `work` for parts 0 .. parts - 1, `each` of them at a time, by at most `threads` threads. */
static int share_out(void (*work)(const void *, long, long), const void *task, long parts, long each, long threads) {
    Share share = {.work = work, .task = task, .parts = parts, .each = each};
    if (threads > parts / each) threads = parts / each;
    if (parallel && threads > 1) parallel(take_parts, &share, (unsigned)threads, 0);
    else take_parts(&share);
    return 0;
}
