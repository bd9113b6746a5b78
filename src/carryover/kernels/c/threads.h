/* Work shared out to PyTorch's own threads, which stand ready between two operations. */

#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_DEFAULT */
#endif

#include <dlfcn.h>
#include <immintrin.h>
#include <sched.h>
#include <stdatomic.h>

/* The usual way into PyTorch's OpenMP, null where it has another. */
typedef void Parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);
typedef int Number(void);
static Parallel *parallel;
static Number *thread_number, *thread_count;

__attribute__((constructor)) static void find_threads(void) {
    *(void **)&thread_number = dlsym(RTLD_DEFAULT, "omp_get_thread_num");
    *(void **)&thread_count = dlsym(RTLD_DEFAULT, "omp_get_num_threads");
    if (thread_number && thread_count) *(void **)&parallel = dlsym(RTLD_DEFAULT, "GOMP_parallel");
}

/* ---------------------------------------------------------------- parts that know nothing of each other */

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
static inline void share_parts(void (*work)(const void *, long), const void *task, long parts, long threads) {
    Shared shared = {.work = work, .task = task, .parts = parts};
    if (threads > parts) threads = parts;
    if (parallel && threads > 1) parallel(take_parts, &shared, (unsigned)threads, 0);
    else take_parts(&shared);
}

/* ---------------------------------------------------------------- threads that wait for each other */

/* Every thread does `work` with its own number, below `threads`, which may be fewer than asked for. */
typedef struct Team {
    void (*work)(struct Team *team, long number);
    const void *task;
    atomic_long threads, waiting, turn;
} Team;

static inline void meet(Team *team) {
    const long threads = team->threads, turn = team->turn;
    if (threads == 1) return;
    if (atomic_fetch_add(&team->waiting, 1) == threads - 1) {
        team->waiting = 0;
        atomic_store(&team->turn, turn + 1);
        return;
    }
    for (long spins = 0; atomic_load(&team->turn) == turn; spins++) {
        if (spins < 200) _mm_pause();
        else sched_yield(); /* the others have no core of their own */
    }
}

static void take_part(void *data) {
    Team *team = data;
    atomic_store(&team->threads, thread_count()); /* all store the same */
    team->work(team, thread_number());
}

static inline void run_team(void (*work)(Team *, long), const void *task, long wanted) {
    Team team = {.work = work, .task = task, .threads = 1};
    if (parallel && wanted > 1) parallel(take_part, &team, (unsigned)wanted, 0);
    else work(&team, 0);
}
