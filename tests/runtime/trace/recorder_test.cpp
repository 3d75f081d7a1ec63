// What a recording of the toy actors holds, live and simulated: every cause before its effect.
#include "runtime/trace/recorder.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "runtime/device/cpu_device.hpp"
#include "runtime/host/caf_host.hpp"
#include "runtime/host/sim_host.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/toy_actors.hpp"

namespace sluice::trace {
namespace {

Recording toy_recording(Payloads payloads) {
  Recording recording;
  recording.payloads = payloads;
  recording.actors.resize(5);
  return recording;
}

// Pairs up what a log says, and counts it.
struct Tally {
  std::map<std::pair<ActorIndex, ActorIndex>, int> sent, delivered;
  std::set<std::pair<ActorIndex, std::uint64_t>> tasks;  // that ran and are not reported yet
  std::map<ActorIndex, std::int64_t> sequence;
  std::int64_t time_ns = 0;
  int tasks_run = 0, payloads = 0, timed_wrong = 0;

  void take(const SendEvent& e) { ++sent[{e.from, e.to}]; }
  void take(const ForwardEvent& e) { ++sent[{e.from, e.to}]; }
  void take(const DeliveryEvent& e) {
    EXPECT_EQ(e.sequence, sequence[e.to]++);
    if (e.task) {
      EXPECT_EQ(tasks.erase({e.to, *e.task}), 1U) << "done before it ran";
      return;
    }
    const std::pair pair{e.from, e.to};
    EXPECT_LE(++delivered[pair], sent[pair]) << e.from << " -> " << e.to << " before it was sent";
  }
  void take(const TaskEvent& e) {
    ++tasks_run;
    timed_wrong +=
        e.times.submitted_ns > e.times.started_ns || e.times.started_ns > e.times.ended_ns;
    EXPECT_TRUE(tasks.insert({e.actor, e.id}).second);
    EXPECT_TRUE(e.name == "produce" || e.name == "work" || e.name == "collect") << e.name;
  }
  void take(const PayloadEvent&) { ++payloads; }
};

Tally tally(const std::filesystem::path& path) {
  Tally out;
  auto reader = LogReader::open(path);
  EXPECT_TRUE(reader);
  EXPECT_TRUE(read_recording(*reader));
  for (auto record = reader->next(); record && *record; record = reader->next()) {
    const auto event = parse(**record);
    EXPECT_TRUE(event) << event.error().message;
    if (event) std::visit([&out](const auto& e) { out.take(e); }, *event);
  }
  EXPECT_TRUE(reader->closed());
  return out;
}

void expect_whole(const Tally& got, int micro_batches) {
  EXPECT_EQ(got.sent, got.delivered);  // plus what went outside, below
  EXPECT_EQ(got.tasks_run, 3 * micro_batches);
  EXPECT_TRUE(got.tasks.empty());
  EXPECT_EQ(got.timed_wrong, 0);
}

class RecorderTest : public testing::Test {
 protected:
  // The last report to the outside is sent and delivered to nobody.
  static Tally without_outside(Tally got) {
    EXPECT_EQ(got.sent.erase({toy::kCollector, graph::kOutside}), 1U);
    return got;
  }
  test::TemporaryFolder folder_;
};

TEST_F(RecorderTest, SimulatedRunsAreWholeAndInOrder) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Recorder recorder;
    ASSERT_TRUE(recorder.begin(folder_.path(), toy_recording(Payloads::kNone)));
    kernels::ThreadTeam team(1);
    host::SimHost::Config config;
    config.seed = seed;
    config.compute = {kernels::Isa::kReference, {}, &team, &heap_allocator(), nullptr};
    config.observer = &recorder;
    host::SimHost host(config);
    toy::add_toy(host, {});
    ASSERT_TRUE(host.start());
    toy::start_toy(host, 9);
    ASSERT_TRUE(host.receive());
    ASSERT_TRUE(host.run_until_quiet());
    ASSERT_TRUE(recorder.end());
    const Tally got = without_outside(tally(folder_.path()));
    expect_whole(got, 9);
    EXPECT_EQ(got.payloads, 0);
  }
}

TEST_F(RecorderTest, LiveRunsAreWholeAndInOrder) {
  device::CpuDevice device({});
  for (int threads : {1, 4}) {
    Recorder recorder;
    ASSERT_TRUE(recorder.begin(folder_.path(), toy_recording(Payloads::kAll)));
    host::CafHost::Config config{.threads = threads, .device = {}, .observer = &recorder};
    config.device = [&device](std::int32_t) { return &device; };
    host::CafHost host(std::move(config));
    toy::add_toy(host, {});
    ASSERT_TRUE(host.start());
    toy::start_toy(host, 50);
    ASSERT_TRUE(host.receive());
    ASSERT_TRUE(host.stop());
    ASSERT_TRUE(recorder.end());
    Tally got = without_outside(tally(folder_.path()));
    // Credits that came back last may not have been delivered when the host stopped.
    for (const auto& [pair, count] : got.delivered) EXPECT_LE(got.sent[pair] - count, 2);
    EXPECT_EQ(got.tasks_run, 150);
    EXPECT_EQ(got.timed_wrong, 0);
    // Each micro-batch's rows twice, as they are made and as they are doubled; not once more for
    // the channels that they pass.
    EXPECT_EQ(got.payloads, 100);
  }
}

TEST(TensorDigests, OncePerLifeOfATensor) {
  TensorDigests digests;
  std::uint64_t first = 0;
  const std::byte* address = nullptr;
  {
    const Tensor tensor = Tensor::zeros(DType::kF32, {64});
    address = tensor.bytes();
    const auto found = digests.find(tensor, true);
    EXPECT_TRUE(found.write);
    first = found.digest;
    const Tensor same = tensor;
    EXPECT_FALSE(digests.find(same, true).write);
    // Not read again: what a tensor holds never changes once it was sent. This one's does.
    tensor.values<float>()[0] = 1;
    EXPECT_EQ(digests.find(same, true).digest, first);
    EXPECT_NE(digests.find(tensor.slice(0, 32), true).digest, first);
  }
  // The same address in another life is another tensor.
  for (int i = 0; i < 100; ++i) {
    Tensor next = Tensor::zeros(DType::kF32, {64});
    next.values<float>()[0] = 2;
    if (next.bytes() != address) continue;
    EXPECT_NE(digests.find(next, false).digest, first);
    EXPECT_TRUE(digests.find(next, true).write);
    EXPECT_FALSE(digests.find(next, true).write);
    return;
  }
}

}  // namespace
}  // namespace sluice::trace
