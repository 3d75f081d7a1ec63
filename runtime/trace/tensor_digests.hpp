// The digest of a tensor, computed once while it lives.
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "kernels/base/tensor.hpp"

namespace sluice::trace {

/// Digests of tensors that live, by their storage. Thread-safe.
class TensorDigests {
 public:
  struct Found {
    std::uint64_t digest = 0;
    bool write = false;  ///< its elements are wanted, and were not before, or that was forgotten
  };
  Found find(const Tensor& tensor, bool elements_wanted);

 private:
  // A tensor whose slot another one takes is digested again.
  static constexpr std::size_t kSlots = 1024;
  struct Slot {
    std::weak_ptr<std::byte> storage;  // holds no memory but the count
    const std::byte* bytes = nullptr;
    std::size_t size_bytes = 0;
    std::uint64_t digest = 0;
    bool written = false;
  };
  std::mutex mutex_;
  std::array<Slot, kSlots> slots_;
};

}  // namespace sluice::trace
