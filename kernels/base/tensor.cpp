// Ownership and shape of tensors.
#include "kernels/base/tensor.hpp"

#include <cstdlib>
#include <cstring>

namespace sluice {
namespace {

class HeapAllocator final : public Allocator {
 public:
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    const std::size_t rounded = (bytes + 63) / 64 * 64;
    auto* block = static_cast<std::byte*>(std::aligned_alloc(64, rounded == 0 ? 64 : rounded));
    SLUICE_CHECK(block != nullptr, "out of memory: {} bytes", bytes);
    return {block, [](std::byte* p) { std::free(p); }};
  }
};

}  // namespace

Allocator& heap_allocator() {
  static HeapAllocator allocator;
  return allocator;
}

Tensor::Tensor(Allocator& allocator, DType dtype, Shape shape)
    : storage_(allocator.allocate(static_cast<std::size_t>(shape.count()) * size_of(dtype))),
      dtype_(dtype),
      shape_(shape) {}

Tensor Tensor::meta(DType dtype, Shape shape) {
  Tensor t;
  t.dtype_ = dtype;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::zeros(DType dtype, Shape shape) {
  Tensor t(heap_allocator(), dtype, shape);
  std::memset(t.bytes(), 0, t.size_bytes());
  return t;
}

TensorView Tensor::view() const {
  SLUICE_CHECK(storage_ != nullptr, "tensor {} has no storage", shape_.to_string());
  return {storage_.get(), dtype_, shape_.rows(), shape_.columns(), shape_.columns()};
}

Tensor Tensor::reshaped(Shape shape) const {
  SLUICE_CHECK_EQ(shape.count(), shape_.count());
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::slice(std::int64_t first, std::int64_t n) const {
  SLUICE_CHECK(shape_.rank() >= 1 && first >= 0 && n >= 0 && first + n <= shape_[0],
               "slice [{}, {}) of {}", first, first + n, shape_.to_string());
  Shape shape{n};
  std::int64_t inner = 1;
  for (int axis = 1; axis < shape_.rank(); ++axis) {
    shape.append(shape_[axis]);
    inner *= shape_[axis];
  }
  Tensor t = *this;
  t.shape_ = shape;
  if (storage_)
    t.storage_ = {storage_,
                  storage_.get() + first * inner * static_cast<std::int64_t>(size_of(dtype_))};
  return t;
}

}  // namespace sluice
