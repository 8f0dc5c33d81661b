// The threads of a block, and what they do together: barriers, shuffles, asynchronous copies.
#pragma once
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <type_traits>

// --- the words of CUDA C

#define __global__ __attribute__((visibility("hidden")))
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __constant__ static const
#define __shared__ static __attribute__((section("shared_memory")))
#define __syncthreads() sim::wait_block(__LINE__)
#define __syncwarp(...) sim::wait_warp(sim::mask_or_all(__VA_ARGS__), __LINE__)
#define __shfl_sync(mask, value, ...) sim::shuffle(mask, value, __LINE__, sim::FROM, __VA_ARGS__)
#define __shfl_up_sync(mask, value, ...) sim::shuffle(mask, value, __LINE__, sim::UP, __VA_ARGS__)
#define __shfl_down_sync(mask, value, ...) sim::shuffle(mask, value, __LINE__, sim::DOWN, __VA_ARGS__)
#define __shfl_xor_sync(mask, value, ...) sim::shuffle(mask, value, __LINE__, sim::XOR, __VA_ARGS__)
#define __ballot_sync(mask, predicate) sim::ballot(mask, predicate, __LINE__)
#define __any_sync(mask, predicate) (sim::ballot(mask, predicate, __LINE__) != 0)
#define __all_sync(mask, predicate) (sim::ballot(mask, !(predicate), __LINE__) == 0)

namespace sim {

// --- how a launch is described, and how it failed: the same structures are in simulator.py

enum Kind { FINE, OUTSIDE, TRAPPED, BARRIER, ASSERTION, NO_MEMORY };
struct Failure {
    int kind, block[3], thread[3];
    void *address, *code;  // what was accessed, by which instruction
    char text[400];
};
struct Launch {
    void **arguments;
    int grid[3], block[3];
    long long shared;  // bytes of dynamic shared memory
    int order, seed;  // order: 0 forward, 1 reverse, 2 shuffled
    Failure failure;
};

// --- the threads of the block that is running

const int THREADS = 1024, LANES = 32, COPIES = 256;
enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, ENDED };
struct Copy { void *to; const void *from; int bytes, group; };
struct Thread {
    State state;
    bool started;
    int line;  // of the barrier at which it waits
    unsigned mask;  // the lanes that have to come to it
    char *stack;
    Context context;
    uint64_t given[8];  // what it hands to the other lanes of its warp
    Copy copies[COPIES];  // asynchronous copies that have not been waited for
    int copying, group;
};
static Thread *threads;
static char *idle_stacks[THREADS];
static int count, current, stacks;
static Context scheduler;
static void (*body)(void **);
static Launch *launch;
static char *dynamic_memory;

inline uint3 position(int t) {
    return {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}

// Says why the launch failed, and where: in the thread that runs.
inline void describe(Kind kind, const char *format, ...) {
    Failure &f = launch->failure;
    uint3 t = position(current);
    int block[] = {(int)blockIdx.x, (int)blockIdx.y, (int)blockIdx.z}, thread[] = {(int)t.x, (int)t.y, (int)t.z};
    f.kind = kind;
    if (kind == ASSERTION) f.code = (char *)__builtin_return_address(0) - 1;
    memcpy(f.block, block, sizeof block);
    memcpy(f.thread, thread, sizeof thread);
    va_list values;
    va_start(values, format);
    vsnprintf(f.text, sizeof f.text, format, values);
    va_end(values);
}

// Leaves a thread in the middle, for good. The scheduler sees the failure, and ends the launch.
[[noreturn]] inline void abandon() {
    Context abandoned;
    switch_to(abandoned, scheduler);
    abort();
}

inline void on_signal(int number, siginfo_t *info, void *state) {
    launch->failure.address = number == SIGSEGV || number == SIGBUS ? info->si_addr : nullptr;
#ifdef __x86_64__
    launch->failure.code = (void *)((ucontext_t *)state)->uc_mcontext.gregs[REG_RIP];
#endif
    describe(launch->failure.address ? OUTSIDE : TRAPPED, "signal %d", number);
    abandon();
}

// --- barriers

inline void wait(State state, unsigned mask, int line) {
    Thread &t = threads[current];
    t.state = state, t.mask = mask, t.line = line;
    switch_to(t.context, scheduler);
}
inline void wait_block(int line) { wait(AT_BLOCK_BARRIER, 0, line); }
inline unsigned mask_or_all(unsigned mask = 0xffffffff) { return mask; }
inline void wait_warp(unsigned mask, int line) {
    int lane = current % LANES;
    if (!(mask >> lane & 1)) {
        describe(BARRIER, "lane %d is not in the mask %08x of the warp operation in line %d", lane, mask, line);
        abandon();
    }
    wait(AT_WARP_BARRIER, mask, line);
}

// Whether all lanes of the mask of thread t wait with it, at the same barrier.
inline bool warp_is_complete(int t) {
    int first = t - t % LANES;
    for (int lane = 0; lane < LANES && first + lane < count; lane++) {
        Thread &other = threads[first + lane];
        if ((threads[t].mask >> lane & 1) && (other.state != AT_WARP_BARRIER || other.line != threads[t].line ||
                                              other.mask != threads[t].mask))
            return false;
    }
    return true;
}

// Opens barriers once no thread can run. Returns whether any opened.
inline bool open_barriers() {
    bool opened = false;
    int waiting = 0;
    for (int t = 0; t < count; t++) {
        waiting += threads[t].state == AT_BLOCK_BARRIER && threads[t].line == threads[0].line;
        if (threads[t].state == AT_WARP_BARRIER && warp_is_complete(t)) {
            int first = t - t % LANES;
            for (int lane = 0; lane < LANES && first + lane < count; lane++)
                if (threads[t].mask >> lane & 1 && first + lane != t) threads[first + lane].state = READY;
            threads[t].state = READY;
            opened = true;
        }
    }
    for (int t = 0; t < count && waiting == count; t++) threads[t].state = READY;
    return opened || waiting == count;
}

// Names a thread that waits, and one that does not wait with it.
inline void report_divergence() {
    int waits = 0, other = 0;
    while (threads[waits].state == ENDED) waits++;
    Thread &w = threads[waits];
    bool whole = w.state == AT_BLOCK_BARRIER;
    int first = whole ? 0 : waits - waits % LANES, last = whole ? count : first + LANES;
    for (other = first; other < last && other < count - 1; other++) {
        bool expected = whole || w.mask >> (other - first) & 1;
        if (expected && (threads[other].state != w.state || threads[other].line != w.line)) break;
    }
    Thread &o = threads[other];
    uint3 p = position(other);
    char what[60];
    snprintf(what, sizeof what, o.state == ENDED ? "has ended" : "waits in line %d", o.line);
    current = waits;
    describe(BARRIER, "divergent barrier: it waits in line %d for thread (%u, %u, %u), which %s", w.line, p.x, p.y, p.z,
             what);
}

// --- what lanes of a warp do together

// Every lane gives a value and waits for the others; then each may take those of all; then they wait once more, so that
// nobody gives a new value too early.
template <typename V> V taken_from(int lane) {
    V value;
    memcpy(&value, threads[current - current % LANES + lane].given, sizeof value);
    return value;
}
template <typename V> void give(unsigned mask, const V &mine, int line) {
    static_assert(sizeof(V) <= sizeof Thread::given);
    memcpy(threads[current].given, &mine, sizeof mine);
    wait_warp(mask, line);
}
enum Way { FROM, UP, DOWN, XOR };
template <typename V> V shuffle(unsigned mask, V value, int line, Way way, int by, int width = LANES) {
    int lane = current % LANES, first = lane - lane % width, source = by % width + first;
    if (way == UP) source = lane - by < first ? lane : lane - by;
    if (way == DOWN) source = lane + by >= first + width ? lane : lane + by;
    if (way == XOR) source = (lane ^ by) >= first + width ? lane : lane ^ by;
    give(mask, value, line);
    if (mask >> source & 1 && current - lane + source < count)
        value = taken_from<V>(source);
    else
        memset(&value, 0xff, sizeof value);  // undefined on a GPU
    wait_warp(mask, line);
    return value;
}
inline unsigned ballot(unsigned mask, bool predicate, int line) {
    unsigned votes = 0;
    give(mask, predicate, line);
    int first = current - current % LANES;
    for (int lane = 0; lane < LANES && first + lane < count; lane++)
        if (mask >> lane & 1) votes |= (unsigned)taken_from<bool>(lane) << lane;
    wait_warp(mask, line);
    return votes;
}

// --- asynchronous copies: done when they are waited for, not before; or, in reverse order, at once. GPUs may do either

inline void copy_now(const Copy &c) {
    if (c.from) memcpy(c.to, c.from, c.bytes);
    else memset(c.to, 0, c.bytes);
}
inline void copy_later(void *to, const void *from, int bytes) {
    Thread &t = threads[current];
    if ((uintptr_t)to % bytes || (from && (uintptr_t)from % bytes))
        describe(ASSERTION, "cp.async of %d bytes needs addresses that are multiples of %d", bytes, bytes), abandon();
    if (t.copying == COPIES)
        describe(ASSERTION, "more than %d asynchronous copies under way in one thread", COPIES), abandon();
    if (launch->order == 1) copy_now({to, from, bytes, t.group});
    else t.copies[t.copying++] = {to, from, bytes, t.group};
}
inline void copies_commit() { threads[current].group++; }
inline void copies_wait(int groups_left) {
    Thread &t = threads[current];
    int kept = 0;
    for (int i = 0; i < t.copying; i++) {
        Copy c = t.copies[i];
        if (c.group >= t.group - groups_left) t.copies[kept++] = c;
        else copy_now(c);
    }
    t.copying = kept;
}

}  // namespace sim
