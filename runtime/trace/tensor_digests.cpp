// A slot for each address, which holds while the block behind it is the same.
#include "runtime/trace/tensor_digests.hpp"

#include "kernels/base/digest.hpp"

namespace sluice::trace {
namespace {

bool same_storage(const std::weak_ptr<std::byte>& a, const std::shared_ptr<std::byte>& b) {
  return !a.owner_before(b) && !b.owner_before(a);
}

}  // namespace

// # Why not the address alone?
// Memory is given out again. The count that a weak pointer keeps is of one life of a block.
TensorDigests::Found TensorDigests::find(const Tensor& tensor, bool elements_wanted) {
  const std::byte* const bytes = tensor.bytes();
  Slot& slot = slots_[(reinterpret_cast<std::uintptr_t>(bytes) >> 6) * 0x9e3779b97f4a7c15u >> 54];
  {
    const std::lock_guard lock(mutex_);
    if (slot.bytes == bytes && slot.size_bytes == tensor.size_bytes() &&
        same_storage(slot.storage, tensor.storage())) {
      const bool write = elements_wanted && !slot.written;
      slot.written |= elements_wanted;
      return {slot.digest, write};
    }
  }
  const std::uint64_t made = digest(std::span<const std::byte>(bytes, tensor.size_bytes()));
  const std::lock_guard lock(mutex_);
  slot = {tensor.storage(), bytes, tensor.size_bytes(), made, elements_wanted};
  return {made, elements_wanted};
}

}  // namespace sluice::trace
