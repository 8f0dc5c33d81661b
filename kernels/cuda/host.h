// Runs CUDA kernels on the CPU: what a .cu file needs to be compiled by g++ as it is.
//
// Every CUDA thread of a block is a fiber, a function with a stack of its own that can stop in the middle; blocks run
// one after the other. A fiber runs until it ends or comes to a barrier. When no fiber can go on, the barriers are
// looked at: one that all its threads have reached opens, and if none opens, some threads took another branch: an
// error.
//
// simulator.py launches kernels through here, in several orders of the threads, and compares the results. An access
// outside the arguments' memory hits a page without access rights, and one outside an array of known size a check of
// the compiler (-fsanitize); both arrive as signals, which end the launch with a message. Linux only.
#pragma once
#include <sys/mman.h>
#include <ucontext.h>
#include <utility>

namespace sim {

extern "C" __attribute__((weak, visibility("hidden"))) char __start_shared_memory[], __stop_shared_memory[];

inline char *mapped(size_t bytes) {
    void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? nullptr : (char *)p;
}

inline void thread_start() {
    body(launch->arguments);
    threads[current].state = ENDED;
    Context finished;
    switch_to(finished, scheduler);
}

// A stack whose lowest page has no access rights: one that overflows is noticed.
inline char *new_stack() {
    char *stack = mapped(STACK);
    if (stack) mprotect(stack, PAGE, PROT_NONE);
    return stack;
}

inline bool resume(int number) {
    Thread &t = threads[number];
    current = number;
    threadIdx = position(number);
    if (!t.started) {
        t.stack = stacks ? idle_stacks[--stacks] : new_stack();
        if (!t.stack) return launch->failure.kind = NO_MEMORY, false;
        prepare(t.context, t.stack, thread_start);
        t.started = true;
    }
    switch_to(scheduler, t.context);
    if (t.state == ENDED) {
        idle_stacks[stacks++] = t.stack;
        t.stack = nullptr;
    }
    return !launch->failure.kind;
}

// The number of step i of n in the order asked for; `shuffled` has n entries.
inline int nth(int i, int n, const int *shuffled) {
    return launch->order == 0 ? i : launch->order == 1 ? n - 1 - i : shuffled[i];
}
inline void shuffle_numbers(int *numbers, int n, uint64_t &random) {
    for (int i = 0; i < n; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        int j = (random >> 33) % (i + 1);
        numbers[i] = numbers[j], numbers[j] = i;
    }
}

inline bool run_block(uint64_t &random) {
    static int order[THREADS];
    if (__start_shared_memory) memset(__start_shared_memory, 0xff, __stop_shared_memory - __start_shared_memory);
    if (launch->shared) memset(dynamic_memory, 0xff, launch->shared);
    for (int t = 0; t < count; t++) {
        Thread &thread = threads[t];
        thread.state = READY, thread.started = false, thread.copying = thread.group = 0;
    }
    for (int left = count; left;) {
        if (launch->order == 2) shuffle_numbers(order, count, random);
        for (int i = 0; i < count; i++) {
            int t = nth(i, count, order);
            if (threads[t].state != READY) continue;
            if (!resume(t)) return false;
            left -= threads[t].state == ENDED;
        }
        if (left && !open_barriers()) return report_divergence(), false;
    }
    return true;
}

// Runs all blocks of a launch, in the order asked for. Returns whether all went well.
inline bool run_blocks() {
    const int *g = launch->grid;
    int n = g[0] * g[1] * g[2], *order = (int *)mapped(n * sizeof(int));
    uint64_t random = launch->seed;
    bool fine = order;
    if (fine) shuffle_numbers(order, n, random);
    for (int i = 0; i < n && fine; i++) {
        int b = nth(i, n, order);
        blockIdx = {(unsigned)(b % g[0]), (unsigned)(b / g[0] % g[1]), (unsigned)(b / (g[0] * g[1]))};
        fine = run_block(random);
    }
    munmap(order, n * sizeof(int));
    return fine;
}

const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};

// Runs a launch with signals turned into failures, on a signal stack of its own: that of a thread may have overflown.
inline int run(void (*kernel)(void **), Launch *described) {
    struct sigaction ours = {}, before[5];
    stack_t signal_stack = {}, stack_before;
    static char signal_memory[STACK];
    launch = described, body = kernel;
    const int *b = launch->block, *g = launch->grid;
    count = b[0] * b[1] * b[2];
    blockDim = {(unsigned)b[0], (unsigned)b[1], (unsigned)b[2]};
    gridDim = {(unsigned)g[0], (unsigned)g[1], (unsigned)g[2]};
    if (!threads) threads = (Thread *)mapped(THREADS * sizeof(Thread));
    size_t room = (launch->shared + PAGE - 1) / PAGE * PAGE + PAGE;  // one page without access rights behind it
    char *shared = mapped(room);
    launch->failure.kind = threads && shared ? FINE : NO_MEMORY;
    if (launch->failure.kind) return launch->failure.kind;
    mprotect(shared + room - PAGE, PAGE, PROT_NONE);
    dynamic_memory = shared + (room - PAGE - launch->shared) / 16 * 16;
    ours.sa_sigaction = on_signal;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    signal_stack.ss_sp = signal_memory;
    signal_stack.ss_size = sizeof signal_memory;
    sigaltstack(&signal_stack, &stack_before);
    for (int i = 0; i < 5; i++) sigaction(SIGNALS[i], &ours, &before[i]);
    run_blocks();
    for (int i = 0; i < 5; i++) sigaction(SIGNALS[i], &before[i], nullptr);
    sigaltstack(&stack_before, nullptr);
    munmap(shared, room);
    for (int t = 0; t < count; t++)  // of threads that were left in the middle
        if (threads[t].stack) idle_stacks[stacks++] = threads[t].stack, threads[t].stack = nullptr;
    return launch->failure.kind;
}

// --- kernels by name: their parameters, as text for Python to check, and a call with an array of pointers to arguments

template <typename E> struct Name { static void write(char *&to) { to += sprintf(to, "%d bytes", (int)sizeof(E)); } };
#define NAME(type, name) \
    template <> struct Name<type> { static void write(char *&to) { to += sprintf(to, name); } };
NAME(float, "float32") NAME(double, "float64") NAME(__half, "float16") NAME(__nv_bfloat16, "bfloat16")
NAME(bool, "bool") NAME(int8_t, "int8") NAME(uint8_t, "uint8") NAME(int16_t, "int16") NAME(uint16_t, "uint16")
NAME(int32_t, "int32") NAME(uint32_t, "uint32") NAME(long long, "int64") NAME(int64_t, "int64") NAME(uint64_t, "uint64")
NAME(unsigned long long, "uint64")
#undef NAME
template <typename E> struct Name<const E> : Name<E> {};
template <typename E> struct Name<E *> { static void write(char *&to) { Name<E>::write(to), *to++ = '*', *to = 0; } };

template <typename... P> const char *parameters(void (*)(P...)) {
    static char text[64 * (sizeof...(P) + 1)];
    char *to = text;
    ((Name<P>::write(to), *to++ = ';'), ...);
    return *to = 0, text;
}
template <typename... P, size_t... I> void call(void (*kernel)(P...), void **arguments, std::index_sequence<I...>) {
    kernel(*(P *)arguments[I]...);
}
template <typename... P> void call(void (*kernel)(P...), void **arguments) {
    call(kernel, arguments, std::index_sequence_for<P...>());
}

// Memory for an argument between two pages without access rights, close to the one behind it or to the one before it.
// Whatever of it is not the argument's is 0xff, too. Returns the address of the argument, and the whole in `all`.
inline size_t inside(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }
extern "C" char *guarded_new(size_t bytes, int at_end, char **all) {
    *all = mapped(inside(bytes) + 2 * PAGE);
    if (!*all) return nullptr;
    memset(*all + PAGE, 0xff, inside(bytes));
    mprotect(*all, PAGE, PROT_NONE);
    mprotect(*all + PAGE + inside(bytes), PAGE, PROT_NONE);
    return *all + PAGE + (at_end ? (inside(bytes) - bytes) / 16 * 16 : 0);
}
extern "C" void guarded_delete(char *all, size_t bytes) { munmap(all, inside(bytes) + 2 * PAGE); }

// The first byte beside the argument that was written to, as an address, or null.
extern "C" char *guarded_hurt(char *all, char *argument, size_t bytes) {
    for (char *p = all + PAGE; p < all + PAGE + inside(bytes); p++)
        if ((p < argument || p >= argument + bytes) && *p != (char)0xff) return p;
    return nullptr;
}

}  // namespace sim

#define HOST_KERNEL(name) \
    extern "C" int run_##name(sim::Launch *launch) { \
        return sim::run([](void **arguments) { sim::call(name, arguments); }, launch); \
    } \
    extern "C" const char *parameters_##name() { return sim::parameters(name); }
