// A thread for one job at a time that waits awake for the next for a moment after each: a program that syncs each of its
// writes comes back within some 150 us, and to wake a thread that sleeps takes 30 us and more on a virtual machine, a third
// of what the sync itself takes. The processor is offered to others all the while (sched_yield); waits in vain are given
// up (patience.h), and with one processor there are none.
#pragma once
#include <node_api.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "../patience.h"

namespace files {

class AwakeThread {
 public:
  using Execute = void (*)(void* job);
  using Complete = void (*)(napi_env env, void* job);

  /** One for the environment, ended with it. `execute` runs on the thread, `complete` on the environment's. */
  static void attach(napi_env env, Execute execute, Complete complete);
  static AwakeThread& of(napi_env env);

  /** False where a job is under way. */
  bool submit(napi_env env, void* job);

 private:
  AwakeThread(Execute execute, Complete complete) : execute_(execute), complete_(complete) {}
  ~AwakeThread();
  static void completed(napi_env env, napi_value, void* self, void* job);
  static void end(void* self);
  void begin(napi_env env);
  void run();
  void* next();
  void* nextAwake();

  const Execute execute_;
  const Complete complete_;
  /** Of the environment's thread. */
  bool busy_ = false;
  bool begun_ = false;
  napi_threadsafe_function done_ = nullptr;
  std::thread thread_;
  std::atomic<void*> job_{nullptr};
  std::mutex mutex_;
  std::condition_variable came_;
  bool asleep_ = false;
  bool ending_ = false;
  /** Of the thread. */
  cairn::Patience patience_;
  bool alone_ = false;
};

}  // namespace files
