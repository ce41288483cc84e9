// Runs a kernel that was compiled with cuda_on_host.h: block after block, each thread a fiber. The order of the blocks,
// the order in which the threads of a block run, and how a warp's threads meet in __activemask() come from a seed.
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "cuda_on_host.h"
#undef threadIdx

namespace emulation {

Index block_index, block_size, grid_size;

namespace {

constexpr size_t kStackBytes = 128 << 10;
constexpr size_t kMaxParams = 4096;

// By-value structs of more than 16 bytes lie on the stack, one after the other: a kernel with parameters of any type
// can be called with their bytes (x86-64 System V ABI).
struct Params {
  uint64_t bytes[kMaxParams / 8];
};
using Kernel = void (*)(Params);

struct Fiber {
  enum State { kReady, kAtActiveMask, kAtMeeting, kAtBarrier, kDone } state;
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  Index index;
  const void* call;  // where it waits
  uint32_t lanes;    // whom it waits for; or the answer of __activemask()
  uint64_t shown;
  Meeting met;
};

std::vector<Fiber> fibers;
Fiber* current;
ucontext_t scheduler;
Kernel kernel;
Params params;
std::mt19937_64 generator;

void run_fiber() {
  kernel(params);
  current->state = Fiber::kDone;
  swapcontext(&current->context, &scheduler);
}

void wait(Fiber::State state, const void* call) {
  Fiber* self = current;
  self->state = state, self->call = call;
  swapcontext(&self->context, &scheduler);
}

// Lanes that all wait for each other at one call meet.
bool release_meetings(Fiber* warp, int size) {
  bool released = false;
  for (int i = 0; i < size; ++i) {
    const uint32_t lanes = warp[i].lanes;
    if (warp[i].state != Fiber::kAtMeeting) continue;
    if (!(lanes >> i & 1)) fail("a lane outside of its own mask");
    bool complete = true;
    for (int k = 0; k < 32; ++k) {
      if (!(lanes >> k & 1)) continue;
      if (k >= size || warp[k].state == Fiber::kDone) fail("a lane is waited for that has left the kernel");
      if (warp[k].state == Fiber::kAtMeeting && (warp[k].lanes != lanes || warp[k].call != warp[i].call))
        fail("lanes of one mask meet at different intrinsics");
      complete &= warp[k].state == Fiber::kAtMeeting;
    }
    if (!complete) continue;
    for (int k = 0; k < 32; ++k) {
      if (!(lanes >> k & 1)) continue;
      warp[k].met.lanes = lanes, warp[k].met.lane = k;
      for (int j = 0; j < 32; ++j)
        if (lanes >> j & 1) warp[k].met.shown[j] = warp[j].shown;
      warp[k].state = Fiber::kReady;
    }
    released = true;
  }
  return released;
}

// Lanes that wait at one __activemask() get an answer, now and then in two groups, as on a GPU that let them drift
// apart.
bool release_active_masks(Fiber* warp, int size) {
  for (int i = 0; i < size; ++i) {
    if (warp[i].state != Fiber::kAtActiveMask) continue;
    const uint32_t chosen = generator() % 4 == 0 ? uint32_t(generator()) | 1u << i : ~0u;
    uint32_t lanes = 0;
    for (int k = 0; k < size; ++k)
      if (warp[k].state == Fiber::kAtActiveMask && warp[k].call == warp[i].call && chosen >> k & 1) lanes |= 1u << k;
    for (int k = 0; k < size; ++k)
      if (lanes >> k & 1) warp[k].lanes = lanes, warp[k].state = Fiber::kReady;
    return true;
  }
  return false;
}

bool release_barrier() {
  for (const Fiber& fiber : fibers)
    if (fiber.state != Fiber::kAtBarrier) return false;
  for (Fiber& fiber : fibers) fiber.state = Fiber::kReady;
  return true;
}

void run_block() {
  for (size_t i = 0; i < fibers.size(); ++i) {
    Fiber& fiber = fibers[i];
    fiber.state = Fiber::kReady, fiber.index = {unsigned(i), 0, 0};
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get(), fiber.context.uc_stack.ss_size = kStackBytes;
    makecontext(&fiber.context, run_fiber, 0);
  }
  while (true) {
    bool ran = false, done = true;
    const size_t start = generator() % fibers.size();
    for (size_t i = 0; i < fibers.size(); ++i) {
      current = &fibers[(start + i) % fibers.size()];
      if (current->state == Fiber::kReady) ran = true, swapcontext(&scheduler, &current->context);
      done &= current->state == Fiber::kDone;
    }
    if (done) return;
    bool released = ran;
    for (size_t first = 0; first < fibers.size(); first += 32) {
      const int size = int(std::min<size_t>(32, fibers.size() - first));
      released |= release_meetings(&fibers[first], size);
    }
    for (size_t first = 0; first < fibers.size() && !released; first += 32)
      released |= release_active_masks(&fibers[first], int(std::min<size_t>(32, fibers.size() - first)));
    if (!released && !release_barrier()) fail("deadlock");
  }
}

}  // namespace

const Index* thread_index() { return &current->index; }

__attribute__((noinline)) uint32_t active_lanes() {
  wait(Fiber::kAtActiveMask, __builtin_return_address(0));
  return current->lanes;
}

__attribute__((noinline)) const Meeting& meet(uint32_t lanes, uint64_t shown) {
  current->lanes = lanes, current->shown = shown;
  wait(Fiber::kAtMeeting, __builtin_return_address(0));
  return current->met;
}

void barrier() { wait(Fiber::kAtBarrier, nullptr); }

void fail(const char* why) {
  std::fprintf(stderr, "emulated GPU: %s\n", why);
  std::abort();
}

}  // namespace emulation

// Runs `entry` with the `size` bytes of its parameters.
extern "C" void emulate(void* entry, const void* bytes, size_t size, unsigned grid, unsigned block, uint64_t seed) {
  using namespace emulation;
  if (size > kMaxParams) fail("more than 4096 bytes of parameters");
  kernel = reinterpret_cast<Kernel>(entry);
  std::memset(&params, 0xa5, sizeof params);
  std::memcpy(&params, bytes, size);
  grid_size = {grid, 1, 1}, block_size = {block, 1, 1};
  fibers.resize(block);
  generator.seed(seed);
  const unsigned start = unsigned(generator() % grid);
  for (unsigned i = 0; i < grid; ++i) {
    block_index = {(start + i) % grid, 0, 0};
    run_block();
  }
}
