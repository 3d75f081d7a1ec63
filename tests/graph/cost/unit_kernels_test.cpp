// What the lists of V3's units add up to, against published counts and the trace's class sums.
#include "graph/cost/unit_kernels.hpp"

#include <gtest/gtest.h>

#include "tests/graph/cost/jobs.hpp"

namespace sluice::cost {
namespace {

constexpr double kTraceSms = 112;

// Milliseconds of a class in a forward and a backward chunk of four MoE layers.
std::array<double, 10> pair_of_four(const Hardware& hardware) {
  ClassSeconds seconds =
      class_seconds(kernels_of(Unit::kMoeLayer, test::deepseek_v3(), hardware.gpus_per_node),
                    hardware, kTraceSms);
  for (double& value : seconds) value *= 4e3;
  return seconds;
}

void expect_near(const std::array<double, 10>& measured, const std::array<double, 10>& expected,
                 double relative) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(measured[i] / expected[i], 1, relative) << kKernelClassNames[i];
  }
}

// train.json: products 18.84, 22.93, 27.49; attention 4.95, 15.12; movements 34.96; all-to-all.
TEST(UnitKernels, ClassSumsOfThePairAgainstTheTrace) {
  expect_near(pair_of_four(test::h800("trace")),
              {18.84, 22.93, 27.49, 4.95, 15.12, 34.96, 17.38, 23.98, 13.62, 25.47}, 0.015);
}

// Published rates miss it as far as is known: products 10 % (weight gradients 20 % with the wrong
// generation of kernels), attention 15 %; movements and all-to-all have no bar.
TEST(UnitKernels, PublishedRatesMissTheTraceAsFarAsIsKnown) {
  const std::array<double, 10> kTrace{18.84, 22.93, 27.49, 4.95, 15.12};
  constexpr double kDeepGemm[] = {0.10, 0.10, 0.20, 0.15, 0.15};
  constexpr double kCutlass[] = {0.10, 0.10, 0.10, 0.15, 0.15};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(pair_of_four(test::h800("deepgemm"))[i] / kTrace[i], 1, kDeepGemm[i]);
    EXPECT_NEAR(pair_of_four(test::h800("cutlass"))[i] / kTrace[i], 1, kCutlass[i]);
  }
  EXPECT_NEAR(pair_of_four(test::h800("deepgemm"))[5], 22.28, 0.02);  // at 3 TB/s
}

TEST(UnitKernels, LaunchesOfALayerAreTheTraces) {
  const Hardware hardware = test::h800("trace");
  double kernels = 0;
  for (const auto& task : kernels_of(Unit::kMoeLayer, test::deepseek_v3(), 8)) {
    for (const Kernel& kernel : task) kernels += kernel.is_transfer() ? 0 : 1;
  }
  EXPECT_NEAR(kernels * hardware.rates.launches_per_kernel, 236, 1);
}

double bytes_of(const UnitKernels& kernels, Task task) {
  double bytes = 0;
  for (const Kernel& kernel : kernels[static_cast<std::size_t>(task)]) {
    if (const auto* all_to_all = std::get_if<AllToAll>(&kernel.work)) bytes += all_to_all->bytes;
  }
  return bytes;
}

TEST(UnitKernels, AllToAllCountsFourNodeCopies) {
  const UnitKernels kernels = kernels_of(Unit::kMoeLayer, test::deepseek_v3(), 8);
  EXPECT_NEAR(bytes_of(kernels, Task::kDispatchForward), 121.1e6, 0.05e6);
  EXPECT_NEAR(bytes_of(kernels, Task::kCombineForward), 234.9e6, 0.05e6);
  EXPECT_EQ(bytes_of(kernels, Task::kCombineBackward), bytes_of(kernels, Task::kDispatchForward));
  EXPECT_EQ(bytes_of(kernels, Task::kDispatchBackward), bytes_of(kernels, Task::kCombineForward));
  EXPECT_EQ(bytes_of(kernels_of(Unit::kDenseLayer, test::deepseek_v3(), 8), Task::kDispatchForward),
            0);
}

TEST(UnitKernels, CopiesOfATokenByLayout) {
  Job job = test::deepseek_v3();
  job.expert_parallel_size = 16;  // two nodes
  EXPECT_EQ(copies_of_token(job, 8), 2);
  job.expert_parallel_size = 128;  // two nodes for each of the eight groups
  EXPECT_EQ(copies_of_token(job, 8), 8);
  job.expert_parallel_size = 12;  // one and a half
  EXPECT_EQ(copies_of_token(job, 8), 2);
  job.expert_parallel_size = 8;
  EXPECT_GT(copies_of_token(job, 8), 5);
  EXPECT_LT(copies_of_token(job, 8), 5.5);
  job.expert_parallel_size = 1;
  for (const auto& task : kernels_of(Unit::kMoeLayer, job, 8)) {
    for (const Kernel& kernel : task) EXPECT_FALSE(kernel.is_transfer());
  }
}

// 671,026,419,200 parameters of the main model, 11,610,068,224 of MTP besides what it shares.
TEST(UnitKernels, ParametersAreTheCheckpoints) {
  Job job = test::deepseek_v3();
  job.expert_parallel_size = 1;
  const auto all = [&](Unit unit) {
    const UnitParameters parameters = parameters_of(unit, job);
    return parameters.dense + parameters.experts;
  };
  EXPECT_EQ(all(Unit::kEmbedding) + 3 * all(Unit::kDenseLayer) + 58 * all(Unit::kMoeLayer) +
                all(Unit::kHead),
            671'026'419'200.0);
  EXPECT_EQ(all(Unit::kMtpProjection) + all(Unit::kMoeLayer), 11'610'068'224.0);
}

// arXiv 2505.09343, table 2.
TEST(UnitKernels, OperationsOfATokenAreThePublished) {
  EXPECT_NEAR(operations_per_token(test::deepseek_v3(), true) / 250e9, 1, 0.005);
}

// Every weight meets every token once in F, once in I and once in W; what is recomputed is more.
TEST(UnitKernels, ProductsDoTheOperationsOfTheirParameters) {
  const Job job = test::deepseek_v3();
  double forward = 0, weight = 0;
  const UnitKernels kernels = kernels_of(Unit::kDenseLayer, job, 8);
  for (std::size_t task = 0; task < kTaskCount; ++task) {
    for (const Kernel& kernel : kernels[task]) {
      const auto* product = std::get_if<Product>(&kernel.work);
      if (product == nullptr) continue;
      const auto at = static_cast<Task>(task);
      if (at == Task::kAttentionForward || at == Task::kFeedForwardForward)
        forward += product->operations();
      if (at == Task::kAttentionWeight || at == Task::kFeedForwardWeight)
        weight += product->operations();
    }
  }
  const double norms = 2 * 7168 + 1536 + 512;
  EXPECT_EQ(forward, 2 * 4096 * (parameters_of(Unit::kDenseLayer, job).dense - norms));
  EXPECT_EQ(forward, weight);
}

}  // namespace
}  // namespace sluice::cost
