// Runs kernels.cu on the CPU, for its tests: the threads of a block are fibres, and a barrier hands over to the next one.
// Slow and exact; memory that is shared by a block is static, as one block runs at a time.
#define EMULATED
#include <algorithm>
#include <cmath>
#include <ucontext.h>
#include <vector>
using std::max;
using std::min;

struct Three {
    unsigned x, y, z;
};
static Three blockIdx, blockDim, threadIdx;
#define __device__ static
#define __shared__ static
#define KERNEL static void

static ucontext_t scheduler;
struct Fibre {
    ucontext_t context;
    std::vector<char> stack;
    Three thread;
    bool done;
};
static Fibre *current;

static void __syncthreads() { swapcontext(&current->context, &scheduler); }

static void (*body)(void *);
static void *body_arguments;
static void run_fibre() {
    body(body_arguments);
    current->done = true;
    swapcontext(&current->context, &scheduler);
}

// All blocks, one after the other; `barriers` says whether threads of a block wait for each other.
static void run(const unsigned *grid, const unsigned *block, bool barriers, void (*kernel)(void *), void *arguments) {
    blockDim = {block[0], block[1], block[2]};
    unsigned count = block[0] * block[1] * block[2];
    std::vector<Fibre> fibres(barriers ? count : 0);
    for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++) {
                for (unsigned i = 0; i < count; i++) {
                    Three thread = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
                    if (!barriers) {
                        threadIdx = thread;
                        kernel(arguments);
                        continue;
                    }
                    Fibre &f = fibres[i];
                    f.stack.resize(1 << 14);
                    f.thread = thread;
                    f.done = false;
                    getcontext(&f.context);
                    f.context.uc_stack.ss_sp = f.stack.data();
                    f.context.uc_stack.ss_size = f.stack.size();
                    f.context.uc_link = nullptr;
                    makecontext(&f.context, run_fibre, 0);
                }
                body = kernel;
                body_arguments = arguments;
                for (bool left = barriers; left;) {
                    left = false;
                    for (Fibre &f : fibres) {
                        if (f.done) continue;
                        current = &f;
                        threadIdx = f.thread;
                        swapcontext(&scheduler, &f.context);
                        left |= !f.done;
                    }
                }
            }
}
