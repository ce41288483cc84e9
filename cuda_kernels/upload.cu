// A few integers from the CPU to the GPU, as parameters of the kernel that writes them there: nothing waits, and a
// captured graph keeps parameters, whereas memory of the CPU may be gone or changed when it is replayed.
#include "common/portability.cuh"

constexpr int kMostValues = 256;  // all parameters of a kernel fit into 4 KiB

struct UploadParams {
  int64_t* out;  // [num_values]
  int64_t value[kMostValues];
  int64_t num_values;
};

GLR_KERNEL upload_integers(const UploadParams& p) {
  GLR_FOR_EACH(i, p.num_values) { p.out[i] = p.value[i]; }
}
GLR_EXPORT_UNTYPED(upload_integers, UploadParams)
