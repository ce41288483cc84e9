// Starts kernels on a GPU, all those of a call at once: a call from Python costs more than the driver's part of it. The
// driver's functions are found while the program runs, so that compiling this needs nothing of CUDA.
#include <cstdint>

struct GpuDriver {  // addresses of the driver's functions that are named so, and what is always the same
  int (*cuCtxPushCurrent)(void* context);
  int (*cuCtxPopCurrent)(void** context);
  int (*cuLaunchKernel)(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared_bytes, void* stream, void** parameters,
                        void** extra);
  void* context;
  int64_t threads;  // per block
};

struct GpuLaunch {
  void* function;
  int64_t blocks;
};

// Each kernel takes the struct at `params`, those after the first `stride` bytes further on each, and OrderFreeSums if
// it is not null. Returns 0, or in the lower half the driver's error, in the upper half which launch it was; -1 where
// the context did not become current.
extern "C" __attribute__((visibility("default"))) int64_t glr_launch_on_gpu(const GpuDriver* driver,
                                                                            const GpuLaunch* launches, int64_t count,
                                                                            void* stream, char* params, int64_t stride,
                                                                            void* sums) {
  const auto failure = [](int64_t launch, int result) { return launch * (int64_t(1) << 32) + result; };
  if (const int result = driver->cuCtxPushCurrent(driver->context)) return failure(-1, result);
  int result = 0;
  int64_t i = 0;
  while (i < count && !result) {
    void* parameters[] = {params + i * stride, sums};
    const GpuLaunch& launch = launches[i++];
    result = driver->cuLaunchKernel(launch.function, unsigned(launch.blocks), 1, 1, unsigned(driver->threads), 1, 1, 0,
                                    stream, parameters, nullptr);
  }
  void* popped;
  driver->cuCtxPopCurrent(&popped);
  return result ? failure(i - 1, result) : 0;
}
