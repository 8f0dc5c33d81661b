// Fibers: functions with a stack of their own that can stop in the middle, by switching to another stack.
#pragma once
#include <cstddef>
#include <cstring>
#if !defined(__x86_64__) || defined(PORTABLE_FIBERS)
#include <ucontext.h>
#endif

namespace sim {

const size_t PAGE = 4096, STACK = 16 * PAGE;
#if defined(__x86_64__) && !defined(PORTABLE_FIBERS)
typedef void *Context;  // the stack pointer; on that stack are the registers that a function has to preserve
extern "C" __attribute__((visibility("hidden"))) void switch_stacks(void **from, void *to);
asm(".text\n.type switch_stacks, @function\nswitch_stacks:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
    ".size switch_stacks, . - switch_stacks\n");
inline void switch_to(Context &from, Context &to) { switch_stacks(&from, to); }
inline void prepare(Context &context, char *stack, void (*start)()) {
    void **top = (void **)(stack + STACK) - 8;
    memset(top, 0, 64);
    top[6] = (void *)start;  // where `ret` goes, with the stack as after a call
    context = top;
}
#else
typedef ucontext_t Context;
inline void switch_to(Context &from, Context &to) { swapcontext(&from, &to); }
inline void prepare(Context &context, char *stack, void (*start)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, start, 0);
}
#endif

}  // namespace sim
