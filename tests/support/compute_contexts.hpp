// Contexts to run a kernel under: every kernel set of this machine, with one, two and three
// threads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/compute_context.hpp"
#include "tests/support/test_matrix.hpp"

namespace sluice::test {

/// Pools blocks by size, as a device's allocator does, and counts those that were new. Thread-safe.
class CountingAllocator final : public Allocator {
 public:
  CountingAllocator();
  ~CountingAllocator() override;
  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::size_t bytes) override;
  [[nodiscard]] int new_blocks() const;

 private:
  struct Pool;
  std::shared_ptr<Pool> pool_;  // outlives the blocks that are still in use
};

/// A team, an allocator and the context on them.
class TestContext {
 public:
  explicit TestContext(kernels::Isa isa = kernels::Isa::kReference, int threads = 1);
  [[nodiscard]] const kernels::ComputeContext& get() const { return context_; }
  operator const kernels::ComputeContext&() const { return context_; }
  [[nodiscard]] const CountingAllocator& allocator() const { return allocator_; }
  [[nodiscard]] std::string name() const;

 private:
  kernels::ThreadTeam team_;
  CountingAllocator allocator_;
  kernels::ComputeContext context_;
};

/// Calls body for every kernel set that this machine has, each with 1, 2 and 3 threads, inside a
/// SCOPED_TRACE.
void for_each_context(const std::function<void(const TestContext&)>& body);

/// Runs `kernel` under every context and expects of all its outputs, guards included, the bits of
/// the reference with one thread. Returns those.
std::vector<TestMatrix> expect_same_bits(
    const std::function<std::vector<TestMatrix>(const kernels::ComputeContext&)>& kernel);

}  // namespace sluice::test
