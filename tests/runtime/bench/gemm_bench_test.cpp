// The shapes that the GEMM benchmark derives from an architecture, and its report.
#include "runtime/bench/gemm_bench.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/cpu/features.hpp"

namespace sluice::bench {
namespace {

model::ModelConfig tiny_model() {
  model::ModelConfig c;
  c.vocab_size = 50;
  c.hidden_size = 24;
  c.intermediate_size = 40;
  c.moe_intermediate_size = 12;
  c.num_hidden_layers = 3;
  c.num_attention_heads = 2;
  c.n_routed_experts = 4;
  c.kv_lora_rank = 8;
  c.q_lora_rank = 10;
  c.qk_rope_head_dim = 4;
  c.v_head_dim = 6;
  c.qk_nope_head_dim = 8;
  c.n_group = 2;
  c.topk_group = 1;
  c.num_experts_per_tok = 2;
  c.first_k_dense_replace = 1;
  return c;
}

const GemmTask& find(const std::vector<GemmTask>& tasks, const std::string& name) {
  const auto found = std::find_if(tasks.begin(), tasks.end(),
                                  [&](const GemmTask& task) { return task.name == name; });
  SLUICE_CHECK(found != tasks.end(), "no task {}", name);
  return *found;
}

TEST(GemmShapes, AreThoseOfTheModel) {
  const std::vector<GemmTask> tasks = model_tasks("tiny", tiny_model(), 100);
  const GemmTask& queries = find(tasks, "tiny/q_b_proj/forward");
  EXPECT_EQ(queries.m, 100);
  EXPECT_EQ(queries.n, 2 * (8 + 4));
  EXPECT_EQ(queries.k, 10);
  EXPECT_EQ(queries.calls, 3);
  const GemmTask& experts = find(tasks, "tiny/experts_gate_up_proj/weight_gradient");
  EXPECT_EQ(experts.m, 24);
  EXPECT_EQ(experts.n, 24);
  EXPECT_EQ(experts.k, 200) << "two experts a token";
  EXPECT_EQ(experts.groups, 4);
  EXPECT_EQ(experts.calls, 2) << "the first layer is dense";
}

// Every matrix of the model once: outputs x inputs over all linear maps is the parameter count of
// its matrices, the embedding aside.
TEST(GemmShapes, CoverEveryMatrix) {
  const model::ModelConfig c = tiny_model();
  std::int64_t parameters = 0;
  for (const GemmTask& task : model_tasks("tiny", c, 100)) {
    if (task.use == GemmUse::kForward) parameters += task.n * task.k * task.groups * task.calls;
  }
  const std::int64_t attention = 24 * (10 + 8 + 4) + 10 * 2 * 12 + 8 * 2 * (8 + 6) + 2 * 6 * 24;
  const std::int64_t dense = 3 * 24 * 40;
  const std::int64_t moe = 24 * 4 + 3 * 24 * 12 * (4 + 1);
  EXPECT_EQ(parameters, 3 * attention + dense + 2 * moe + 50 * 24);
}

TEST(GemmShapes, WithoutQueryLatentTheQueriesComeFromTheHiddenState) {
  model::ModelConfig c = tiny_model();
  c.q_lora_rank = 0;
  const std::vector<GemmTask> tasks = model_tasks("tiny", c, 1);
  EXPECT_EQ(find(tasks, "tiny/qkv_a_proj/forward").n, 2 * 12 + 8 + 4);
  for (const GemmTask& task : tasks) EXPECT_EQ(task.name.find("q_b_proj"), std::string::npos);
}

TEST(GemmBench, MeasuresEveryTaskOfTheFilter) {
  kernels::ThreadTeam team(2);
  kernels::ComputeContext context;
  context.isa = kernels::best_isa();
  context.team = &team;
  context.allocator = &heap_allocator();
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const GemmBenchReport report =
        run_gemm_bench(context, model_tasks("tiny", tiny_model(), 40),
                       {.operands = dtype, .filter = "experts", .seconds_a_row = 1e-4});
    ASSERT_EQ(report.rows.size(), 6u) << "two maps, three products each";
    for (const GemmBenchRow& row : report.rows) {
      EXPECT_GT(row.gflops, 0) << row.task.name;
      EXPECT_NEAR(row.gflops * row.seconds * 1e9,
                  2.0 * static_cast<double>(row.task.m) * static_cast<double>(row.task.n) *
                      static_cast<double>(row.task.k),
                  1)
          << row.task.name;
    }
    EXPECT_EQ(to_json(report)["rows"].size(), 6u);
    EXPECT_NE(to_table(report).find("tiny/* weighted"), std::string::npos);
  }
}

TEST(GemmBenchReport, WeighsByDuration) {
  GemmBenchReport report;
  GemmBenchRow fast{.task = {.name = "a/x"}, .seconds = 1, .gflops = 90, .peak_gflops = 100};
  GemmBenchRow slow{.task = {.name = "a/y"}, .seconds = 1, .gflops = 30, .peak_gflops = 100};
  slow.task.calls = 3;
  const GemmBenchRow other{.task = {.name = "b/z"}, .seconds = 9, .gflops = 1, .peak_gflops = 100};
  report.rows = {fast, slow, other};
  EXPECT_DOUBLE_EQ(report.weighted_ratio("a/"), (0.9 * 1 + 0.3 * 3) / 4);
  EXPECT_DOUBLE_EQ(report.weighted_ratio("b/"), 0.01);
  EXPECT_EQ(report.weighted_ratio("c/"), 0);
}

}  // namespace
}  // namespace sluice::bench
