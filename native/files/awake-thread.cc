#include "awake-thread.h"

#include <sched.h>

#include <chrono>

namespace files {
namespace {

constexpr auto kAwake = std::chrono::microseconds(300);

bool has_one_processor() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1;
}

}  // namespace

void AwakeThread::attach(napi_env env, Execute execute, Complete complete) {
  auto* self = new AwakeThread(execute, complete);
  napi_set_instance_data(env, self, nullptr, nullptr);
  napi_add_env_cleanup_hook(env, end, self);
}

AwakeThread& AwakeThread::of(napi_env env) {
  void* self = nullptr;
  napi_get_instance_data(env, &self);
  return *static_cast<AwakeThread*>(self);
}

void AwakeThread::end(void* self) { delete static_cast<AwakeThread*>(self); }

AwakeThread::~AwakeThread() {
  if (!begun_) return;
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  came_.notify_one();
  thread_.join();
  napi_release_threadsafe_function(done_, napi_tsfn_abort);
}

void AwakeThread::begin(napi_env env) {
  napi_value name;
  napi_create_string_latin1(env, "cairn:files", NAPI_AUTO_LENGTH, &name);
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, completed, &done_);
  napi_unref_threadsafe_function(env, done_);
  thread_ = std::thread([this] { run(); });
  begun_ = true;
}

bool AwakeThread::submit(napi_env env, void* job) {
  if (busy_) return false;
  if (!begun_) begin(env);
  busy_ = true;
  napi_ref_threadsafe_function(env, done_);
  job_.store(job, std::memory_order_release);
  // Either the thread sees the job before it falls asleep, which it does with the mutex held, or it is seen asleep here.
  bool asleep;
  {
    std::lock_guard lock(mutex_);
    asleep = asleep_;
  }
  if (asleep) came_.notify_one();
  return true;
}

void AwakeThread::completed(napi_env env, napi_value, void* self, void* job) {
  if (env == nullptr) return;
  auto* thread = static_cast<AwakeThread*>(self);
  thread->busy_ = false;
  napi_unref_threadsafe_function(env, thread->done_);
  thread->complete_(env, job);
}

void AwakeThread::run() {
  alone_ = has_one_processor();
  while (void* job = next()) {
    execute_(job);
    napi_call_threadsafe_function(done_, job, napi_tsfn_nonblocking);
  }
}

/** Null: the end. */
void* AwakeThread::next() {
  if (void* job = nextAwake()) return job;
  std::unique_lock lock(mutex_);
  asleep_ = true;
  came_.wait(lock, [this] { return ending_ || job_.load(std::memory_order_acquire) != nullptr; });
  asleep_ = false;
  return job_.exchange(nullptr, std::memory_order_acquire);
}

void* AwakeThread::nextAwake() {
  if (alone_ || !patience_.begins()) return nullptr;
  const auto until = std::chrono::steady_clock::now() + kAwake;
  do {
    if (job_.load(std::memory_order_relaxed) != nullptr) {
      patience_.paid();
      return job_.exchange(nullptr, std::memory_order_acquire);
    }
    sched_yield();
  } while (std::chrono::steady_clock::now() < until);
  patience_.inVain();
  return nullptr;
}

}  // namespace files
