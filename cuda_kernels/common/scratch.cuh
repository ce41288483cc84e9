// Memory that a kernel needs for itself on the host. Fresh pages cost more than most of what is done with them, so one
// block of it is kept from call to call; calls at the same time have blocks of their own.
#pragma once

#include <atomic>
#include <cstdlib>
#include <new>

#include "portability.cuh"

#ifdef __linux__
#include <sys/mman.h>
#endif

constexpr size_t kMostKept = size_t(128) << 20;  // bytes
constexpr size_t kHugePage = size_t(2) << 20;

class Scratch {
 public:
  explicit Scratch(size_t bytes) {
    block_ = kept().exchange(nullptr);
    if (block_ && block_->bytes >= bytes + kAlignment) return;
    std::free(block_);
    const size_t whole = (bytes + kAlignment + kHugePage - 1) / kHugePage * kHugePage;
    block_ = static_cast<Block*>(std::aligned_alloc(kHugePage, whole));
    if (!block_) throw std::bad_alloc();
#ifdef __linux__
    madvise(block_, whole, MADV_HUGEPAGE);  // advice: where it fails, nothing changes
#endif
    block_->bytes = whole;
  }
  ~Scratch() { std::free(block_->bytes <= kMostKept ? kept().exchange(block_) : block_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // The next `count` elements, not initialized. The block must have been made large enough: see bytes_of.
  template <class U>
  U* take(size_t count) {
    U* found = reinterpret_cast<U*>(reinterpret_cast<char*>(block_) + taken_);
    taken_ += bytes_of<U>(count);
    return found;
  }

  template <class U>
  static size_t bytes_of(size_t count) {
    return (count * sizeof(U) + kAlignment - 1) / kAlignment * kAlignment;
  }

  static void release() { std::free(kept().exchange(nullptr)); }

 private:
  static constexpr size_t kAlignment = 64;
  struct Block {
    size_t bytes;
  };
  static std::atomic<Block*>& kept() {
    static std::atomic<Block*> block{nullptr};
    return block;
  }
  Block* block_;
  size_t taken_ = kAlignment;
};
