// Runs kernels.cu on the CPU, for its tests: the threads of a block are fibres, and a barrier hands over to the next one.
// Slow and exact; memory that is shared by a block is static, as one block runs at a time. Threads and blocks come in order, or
// the other way round: what depends on that has a barrier too few.
#define EMULATED
#include <algorithm>
#include <cmath>
#include <setjmp.h>
#include <ucontext.h>
#include <vector>
using std::max;
using std::min;

struct Three {
    unsigned x, y, z;
};
static Three blockIdx, blockDim, threadIdx;
static bool backwards;
extern "C" void emulated_order(int other) { backwards = other; }
#define __device__ static
#define __shared__ static
#define KERNEL static void

// A fibre begins by its context, and is left and entered again by jumps, which ask nothing of the system.
struct Fibre {
    ucontext_t context;
    jmp_buf place;
    std::vector<char> stack;
    Three thread;
    bool begun, done;
};
static jmp_buf scheduler;
static Fibre *current;

static void hand_over() {
    if (_setjmp(current->place) == 0) _longjmp(scheduler, 1);
}

static void __syncthreads() { hand_over(); }

static void (*body)(void *);
static void *body_arguments;

// A fibre does its thread of one block after the other.
static void run_fibre() {
    for (;;) {
        body(body_arguments);
        current->done = true;
        hand_over();
    }
}

static void enter(Fibre &f) {
    current = &f;
    threadIdx = f.thread;
    if (_setjmp(scheduler) != 0) return;
    if (current->begun) _longjmp(current->place, 1);
    current->begun = true;
    setcontext(&current->context);
}

// All blocks, one after the other; `barriers` says whether threads of a block wait for each other.
static void run(const unsigned *grid, const unsigned *block, bool barriers, void (*kernel)(void *), void *arguments) {
    blockDim = {block[0], block[1], block[2]};
    body = kernel;
    body_arguments = arguments;
    unsigned count = block[0] * block[1] * block[2];
    std::vector<Fibre> fibres(barriers ? count : 0);
    auto thread = [&](unsigned i) { return Three{i % block[0], i / block[0] % block[1], i / block[0] / block[1]}; };
    for (unsigned i = 0; i < fibres.size(); i++) {
        Fibre &f = fibres[i];
        f.stack.resize(1 << 14);
        f.thread = thread(i);
        f.begun = false;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.data();
        f.context.uc_stack.ss_size = f.stack.size();
        f.context.uc_link = nullptr;
        makecontext(&f.context, run_fibre, 0);
    }
    unsigned long blocks = (unsigned long)grid[0] * grid[1] * grid[2];
    for (unsigned long n = 0; n < blocks; n++) {
        unsigned long b = backwards ? blocks - 1 - n : n;
        blockIdx = {(unsigned)(b % grid[0]), (unsigned)(b / grid[0] % grid[1]), (unsigned)(b / grid[0] / grid[1])};
        for (unsigned i = 0; i < count && !barriers; i++) {
            threadIdx = thread(backwards ? count - 1 - i : i);
            kernel(arguments);
        }
        for (Fibre &f : fibres) f.done = false;
        for (bool left = barriers; left;) {
            left = false;
            for (unsigned i = 0; i < count; i++) {
                Fibre &f = fibres[backwards ? count - 1 - i : i];
                if (f.done) continue;
                enter(f);
                left |= !f.done;
            }
        }
    }
}
