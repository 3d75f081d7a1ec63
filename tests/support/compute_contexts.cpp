// Contexts to run a kernel under.
#include "tests/support/compute_contexts.hpp"

#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "tests/support/tensor_comparator.hpp"

namespace sluice::test {

struct CountingAllocator::Pool {
  std::mutex mutex;
  std::multimap<std::size_t, std::shared_ptr<std::byte>> free;
  int new_blocks = 0;

  std::shared_ptr<std::byte> take(std::size_t bytes) {
    const std::scoped_lock lock(mutex);
    const auto found = free.find(bytes);
    if (found == free.end()) {
      ++new_blocks;
      return heap_allocator().allocate(bytes);
    }
    std::shared_ptr<std::byte> block = std::move(found->second);
    free.erase(found);
    return block;
  }
  void give(std::size_t bytes, const std::shared_ptr<std::byte>& block) {
    const std::scoped_lock lock(mutex);
    free.emplace(bytes, block);
  }
};

CountingAllocator::CountingAllocator() : pool_(std::make_shared<Pool>()) {}
CountingAllocator::~CountingAllocator() = default;

std::shared_ptr<std::byte> CountingAllocator::allocate(std::size_t bytes) {
  const std::shared_ptr<std::byte> block = pool_->take(bytes);
  return {block.get(), [pool = pool_, block, bytes](std::byte*) { pool->give(bytes, block); }};
}

int CountingAllocator::new_blocks() const {
  const std::scoped_lock lock(pool_->mutex);
  return pool_->new_blocks;
}

TestContext::TestContext(kernels::Isa isa, int threads) : team_(threads) {
  context_.isa = isa;
  context_.team = &team_;
  context_.allocator = &allocator_;
}

std::string TestContext::name() const {
  return std::string(kernels::name_of(context_.isa)) + ", " + std::to_string(team_.threads()) +
         " threads";
}

void for_each_context(const std::function<void(const TestContext&)>& body) {
  for (const kernels::Isa isa : kernels::available_isas()) {
    for (const int threads : {1, 2, 3}) {
      const TestContext context(isa, threads);
      SCOPED_TRACE(context.name());
      body(context);
    }
  }
}

std::vector<TestMatrix> expect_same_bits(
    const std::function<std::vector<TestMatrix>(const kernels::ComputeContext&)>& kernel) {
  const TestContext reference;
  const std::vector<TestMatrix> want = kernel(reference);
  for_each_context([&](const TestContext& context) {
    const std::vector<TestMatrix> got = kernel(context);
    ASSERT_EQ(want.size(), got.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(same_bits(want[i].view(), got[i].view())) << "output " << i;
      EXPECT_TRUE(got[i].guards_intact()) << "output " << i;
    }
  });
  return want;
}

}  // namespace sluice::test
