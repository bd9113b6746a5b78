/* Work shared out to PyTorch's own threads, which stand ready between two operations. */

#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_DEFAULT */
#endif

#include <dlfcn.h>
#include <stdatomic.h>

/* The usual way into PyTorch's OpenMP, null where it has another. */
typedef void Parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);
static Parallel *parallel;

__attribute__((constructor)) static void find_threads(void) { *(void **)&parallel = dlsym(RTLD_DEFAULT, "GOMP_parallel"); }

typedef struct {
    void (*work)(const void *task, long part);
    const void *task;
    long parts;
    atomic_long next; /* part that nobody has taken */
} Shared;

static void take_parts(void *data) {
    Shared *shared = data;
    for (long part; (part = atomic_fetch_add(&shared->next, 1)) < shared->parts;) shared->work(shared->task, part);
}

/* Parts 0 .. parts-1, each by whichever thread comes first. */
static void share_parts(void (*work)(const void *, long), const void *task, long parts, long threads) {
    Shared shared = {.work = work, .task = task, .parts = parts};
    if (threads > parts) threads = parts;
    if (parallel && threads > 1) parallel(take_parts, &shared, (unsigned)threads, 0);
    else take_parts(&shared);
}
