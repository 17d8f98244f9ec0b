#include "fiber.h"

#include <cstdint>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#if SARM_EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if SARM_EMULATION_SWITCH
// The registers that a called function must keep, and the stack; the floating-point control words are everyone's.
extern "C" void sarm_emulation_switch(void** from, void* to) __attribute__((visibility("hidden")));
asm(R"(
    .text
    .p2align 4
    .globl sarm_emulation_switch
    .hidden sarm_emulation_switch
    .type sarm_emulation_switch, @function
sarm_emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size sarm_emulation_switch, .-sarm_emulation_switch
)");
#endif

namespace emulation {

namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t stack_size = (SARM_EMULATION_ASAN ? 256 : 64) * 1024;
// Of a stack: more than the shift of a fiber and its first frames.
[[maybe_unused]] constexpr std::size_t outermost = 16 * 1024;

// Forget what a sanitizer knows about frames that were here.
void unmark([[maybe_unused]] char* from, [[maybe_unused]] std::size_t size) {
#if SARM_EMULATION_ASAN
    __asan_unpoison_memory_region(from, size);
#endif
}

} // namespace

void prepare(Fiber& fiber, void (*entry)(), std::size_t shift) {
    // The frames in which the last fiber here handed over for good are still marked.
    unmark(fiber.stack + fiber.size - outermost, outermost);
#if SARM_EMULATION_ASAN
    fiber.fake = nullptr;
#endif
#if SARM_EMULATION_SWITCH
    // As after a call: the stack is 8 bytes off a multiple of 16 when `entry` begins, above a return address of 0.
    void** top = reinterpret_cast<void**>(fiber.stack + fiber.size - shift);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(entry);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    fiber.top = top;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = fiber.size - shift;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
#endif
}

void entered([[maybe_unused]] Fiber& from) {
#if SARM_EMULATION_ASAN
    const void* bottom = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    if (from.stack == nullptr) {
        from.stack = const_cast<char*>(static_cast<const char*>(bottom));
        from.size = size;
    }
#endif
}

void switch_fiber(Fiber& from, Fiber& to) {
#if SARM_EMULATION_ASAN
    __sanitizer_start_switch_fiber(&from.fake, to.stack, to.size);
#endif
    races::switch_to(to.watched);
#if SARM_EMULATION_SWITCH
    sarm_emulation_switch(&from.top, to.top);
#else
    swapcontext(&from.context, &to.context);
#endif
#if SARM_EMULATION_ASAN
    __sanitizer_finish_switch_fiber(from.fake, nullptr, nullptr);
#endif
}

std::size_t Stacks::size() { return stack_size; }

char* Stacks::stack(std::size_t i) const { return memory_ + i * (stack_size + page) + page; }

bool Stacks::reserve(std::size_t count) {
    if (count <= count_) return true;
    release();
    const std::size_t bytes = count * (stack_size + page);
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    memory_ = static_cast<char*>(memory);
    count_ = count;
    for (std::size_t i = 0; i < count; ++i) {
        if (mprotect(stack(i) - page, page, PROT_NONE) != 0) return false;
    }
    return true;
}

void Stacks::abandon() {
    for (std::size_t i = 0; i < count_; ++i) unmark(stack(i), stack_size);
}

void Stacks::release() {
    if (memory_ != nullptr) {
        abandon();
        munmap(memory_, count_ * (stack_size + page));
    }
    memory_ = nullptr;
    count_ = 0;
}

} // namespace emulation
