// One connection to the kernel: reads requests from /dev/fuse into an arena that JavaScript owns and writes replies
// out of it. It moves bytes and knows no opcode.
//
// Threads: everything here runs on the JavaScript thread, except the notifier's and the watchdog's own threads, which
// call no Node-API. The arena is only touched by the JavaScript thread.
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#include "arguments.h"
#include "notifier.h"
#include "vigil.h"
#include "watchdog.h"

namespace cairn {
namespace {

constexpr size_t kPage = 4096;
/** UIO_MAXIOV is 1024; one entry is the header's. */
constexpr uint32_t kMaxBuffers = 512;

// Lives as long as the process: its functions may be called after close(), and a process makes few connections.
struct Connection {
  napi_env env;
  std::shared_ptr<Descriptor> descriptor;
  std::shared_ptr<Notifier> notifier;
  std::shared_ptr<Watchdog> watchdog;
  uint8_t* arena = nullptr;
  size_t arenaBytes = 0;
  napi_ref arenaReference = nullptr;
  napi_ref onReadable = nullptr;
  napi_ref onNotified = nullptr;
  napi_async_context context = nullptr;
  uv_poll_t poll;
  uv_async_t wake;
  Vigil vigil;
  bool open = false;
  Connection* next = nullptr;
};

Connection* allConnections = nullptr;

// A process that exits without unmounting takes its mounts off the tree, so that nothing hangs on them or finds
// "Transport endpoint is not connected".
void abandonAll() {
  for (Connection* connection = allConnections; connection; connection = connection->next)
    if (connection->open) connection->watchdog->abandon();
}

void callBack(Connection* connection, napi_ref reference, size_t count, napi_value* values) {
  napi_value function, receiver;
  napi_get_reference_value(connection->env, reference, &function);
  napi_get_global(connection->env, &receiver);
  if (napi_make_callback(connection->env, connection->context, receiver, function, count, values, nullptr) == napi_ok) return;
  bool pending = false;
  napi_is_exception_pending(connection->env, &pending);
  if (!pending) return;
  napi_value error;
  napi_get_and_clear_last_exception(connection->env, &error);
  napi_fatal_exception(connection->env, error);
}

void onPoll(uv_poll_t* handle, int, int) {
  auto* connection = static_cast<Connection*>(handle->data);
  napi_handle_scope scope;
  napi_open_handle_scope(connection->env, &scope);
  callBack(connection, connection->onReadable, 0, nullptr);
  napi_close_handle_scope(connection->env, scope);
}

void onWake(uv_async_t* handle) {
  auto* connection = static_cast<Connection*>(handle->data);
  napi_handle_scope scope;
  napi_open_handle_scope(connection->env, &scope);
  for (const Completion& completion : connection->notifier->takeCompletions()) {
    napi_value values[2];
    napi_create_uint32(connection->env, completion.id, &values[0]);
    napi_create_int32(connection->env, completion.error, &values[1]);
    callBack(connection, connection->onNotified, 2, values);
  }
  napi_close_handle_scope(connection->env, scope);
}

bool inArena(const Connection* connection, int64_t offset, int64_t length) {
  int64_t size = static_cast<int64_t>(connection->arenaBytes);
  return offset >= 0 && length >= 0 && offset <= size && length <= size - offset;
}

// setPolling(on)
napi_value SetPolling(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* connection = static_cast<Connection*>(call.data);
  if (!connection->open) return call.result(-EBADF);
  return call.result(call.number(0) ? uv_poll_start(&connection->poll, UV_READABLE, onPoll) : uv_poll_stop(&connection->poll));
}

// receive(offset, length) -> bytes or negative errno (EAGAIN: none waiting; ENODEV: unmounted; ECONNABORTED: aborted)
napi_value Receive(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* connection = static_cast<Connection*>(call.data);
  int64_t offset = call.number(0), length = call.number(1);
  if (!connection->open || !inArena(connection, offset, length)) return call.result(-EBADF);
  ssize_t received = read(connection->descriptor->fd, connection->arena + offset, static_cast<size_t>(length));
  if (received > 0) connection->vigil.received();
  return call.result(received < 0 ? -errno : received);
}

// reply(offset, length) -> 0 or negative errno (ENOENT: the kernel no longer waits for it)
napi_value Reply(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* connection = static_cast<Connection*>(call.data);
  int64_t offset = call.number(0), length = call.number(1);
  if (!connection->open || !inArena(connection, offset, length)) return call.result(-EBADF);
  ssize_t written = write(connection->descriptor->fd, connection->arena + offset, static_cast<size_t>(length));
  connection->vigil.replied();
  return call.result(written < 0 ? -errno : 0);
}

// replyBuffers(offset, length, buffers) -> 0 or negative errno: a header from the arena, then Uint8Arrays from anywhere
napi_value ReplyBuffers(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* connection = static_cast<Connection*>(call.data);
  int64_t offset = call.number(0), length = call.number(1);
  uint32_t count = 0;
  napi_get_array_length(env, call.values[2], &count);
  if (!connection->open || !inArena(connection, offset, length)) return call.result(-EBADF);
  if (count > kMaxBuffers) return call.result(-E2BIG);
  iovec vectors[kMaxBuffers + 1];
  vectors[0] = {connection->arena + offset, static_cast<size_t>(length)};
  for (uint32_t i = 0; i < count; i++) {
    napi_value buffer;
    void* data = nullptr;
    size_t bytes = 0;
    napi_get_element(env, call.values[2], i, &buffer);
    if (napi_get_buffer_info(env, buffer, &data, &bytes) != napi_ok) return call.result(-EFAULT);
    vectors[i + 1] = {data, bytes};
  }
  ssize_t written = writev(connection->descriptor->fd, vectors, static_cast<int>(count + 1));
  return call.result(written < 0 ? -errno : 0);
}

// notify(id, message) -> 0, or -EAGAIN when the queue is full. onNotified(id, errno) follows.
napi_value Notify(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* connection = static_cast<Connection*>(call.data);
  void* data = nullptr;
  size_t bytes = 0;
  if (!connection->open || napi_get_buffer_info(env, call.values[1], &data, &bytes) != napi_ok) return call.result(-EBADF);
  auto* first = static_cast<uint8_t*>(data);
  return call.result(connection->notifier->push(static_cast<uint32_t>(call.number(0)), {first, first + bytes}) ? 0 : -EAGAIN);
}

napi_value Beat(napi_env env, napi_callback_info info) {
  Call call(env, info);
  static_cast<Connection*>(call.data)->watchdog->beat();
  return nullptr;
}

// setVigil(microseconds): how long the event loop goes on turning after a request or a reply; 0: not at all
napi_value SetVigil(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* connection = static_cast<Connection*>(call.data);
  if (connection->open) connection->vigil.setLength(static_cast<uint64_t>(call.number(0)));
  return nullptr;
}

// armWatchdog(seconds): ends the connection after so many seconds; negative: not at all
napi_value ArmWatchdog(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* connection = static_cast<Connection*>(call.data);
  int64_t seconds = call.number(0);
  if (seconds < 0) connection->watchdog->disarm();
  else connection->watchdog->arm(static_cast<uint32_t>(seconds));
  return nullptr;
}

napi_value WatchdogFired(napi_env env, napi_callback_info info) {
  Call call(env, info);
  napi_value fired;
  napi_get_boolean(env, static_cast<Connection*>(call.data)->watchdog->fired(), &fired);
  return fired;
}

napi_value ForgetMountpoint(napi_env env, napi_callback_info info) {
  Call call(env, info);
  static_cast<Connection*>(call.data)->watchdog->forgetMountpoint();
  return nullptr;
}

void releaseReferences(Connection* connection) {
  napi_delete_reference(connection->env, connection->arenaReference);
  napi_delete_reference(connection->env, connection->onReadable);
  napi_delete_reference(connection->env, connection->onNotified);
  napi_async_destroy(connection->env, connection->context);
}

void onClosed(uv_handle_t* handle) {
  auto* connection = static_cast<Connection*>(handle->data);
  if (handle == reinterpret_cast<uv_handle_t*>(&connection->poll)) {
    uv_close(reinterpret_cast<uv_handle_t*>(&connection->wake), onClosed);
    return;
  }
  if (handle == reinterpret_cast<uv_handle_t*>(&connection->wake)) {
    uv_close(connection->vigil.handle(), onClosed);
    return;
  }
  napi_handle_scope scope;
  napi_open_handle_scope(connection->env, &scope);
  releaseReferences(connection);
  napi_close_handle_scope(connection->env, scope);
  // The last owner closes the descriptor, which ends the connection where it still stands.
  connection->descriptor.reset();
  connection->notifier.reset();
}

// close(): stops polling, both threads, and closes the descriptor when neither uses it any more
napi_value Close(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* connection = static_cast<Connection*>(call.data);
  if (!connection->open) return nullptr;
  connection->open = false;
  connection->vigil.stop();
  connection->notifier->stop();
  connection->watchdog->stop();
  uv_poll_stop(&connection->poll);
  uv_close(reinterpret_cast<uv_handle_t*>(&connection->poll), onClosed);
  return nullptr;
}

int startThreads(Connection* connection) {
  int error = connection->notifier->start();
  if (error) return error;
  error = connection->watchdog->start();
  if (error) connection->notifier->stop();
  return error;
}

void setFunctions(Connection* connection, napi_value object) {
  setFunction(connection->env, object, "setPolling", SetPolling, connection);
  setFunction(connection->env, object, "receive", Receive, connection);
  setFunction(connection->env, object, "reply", Reply, connection);
  setFunction(connection->env, object, "replyBuffers", ReplyBuffers, connection);
  setFunction(connection->env, object, "notify", Notify, connection);
  setFunction(connection->env, object, "setVigil", SetVigil, connection);
  setFunction(connection->env, object, "beat", Beat, connection);
  setFunction(connection->env, object, "armWatchdog", ArmWatchdog, connection);
  setFunction(connection->env, object, "watchdogFired", WatchdogFired, connection);
  setFunction(connection->env, object, "forgetMountpoint", ForgetMountpoint, connection);
  setFunction(connection->env, object, "close", Close, connection);
}

// attach(descriptor, arena, onReadable, onNotified, mountpoint, abortFile, stuckSeconds, notificationLimit)
// -> connection, or a negative errno. Takes the descriptor. `arena` is an ArrayBuffer with a page to spare: offsets are
// counted from its first page boundary, whose own offset is the connection's `arenaStart`.
napi_value Attach(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd = static_cast<int>(call.number(0));
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  fcntl(fd, F_SETFD, FD_CLOEXEC);

  void* data = nullptr;
  size_t bytes = 0;
  uv_loop_t* loop = nullptr;
  if (napi_get_arraybuffer_info(env, call.values[1], &data, &bytes) != napi_ok || bytes < 2 * kPage) return call.result(-EINVAL);
  napi_get_uv_event_loop(env, &loop);
  auto* connection = new Connection{};
  connection->env = env;
  int error = uv_poll_init(loop, &connection->poll, fd);
  if (error) {
    delete connection;
    return call.result(error);
  }
  size_t start = (kPage - reinterpret_cast<uintptr_t>(data) % kPage) % kPage;
  connection->arena = static_cast<uint8_t*>(data) + start;
  connection->arenaBytes = bytes - start;
  connection->descriptor = std::make_shared<Descriptor>(fd);
  connection->notifier = std::make_shared<Notifier>(connection->descriptor, &connection->wake, static_cast<size_t>(call.number(7)));
  connection->watchdog = std::make_shared<Watchdog>(call.text(4), call.text(5), static_cast<uint32_t>(call.number(6)));
  uv_async_init(loop, &connection->wake, onWake);
  connection->vigil.init(loop, connection);
  uv_unref(reinterpret_cast<uv_handle_t*>(&connection->wake));
  connection->poll.data = connection;
  connection->wake.data = connection;
  napi_create_reference(env, call.values[1], 1, &connection->arenaReference);
  napi_create_reference(env, call.values[2], 1, &connection->onReadable);
  napi_create_reference(env, call.values[3], 1, &connection->onNotified);
  napi_value name, object;
  napi_create_string_utf8(env, "cairn:fuse", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, nullptr, name, &connection->context);
  if (!allConnections) atexit(abandonAll);
  connection->next = allConnections;
  allConnections = connection;
  connection->open = true;
  error = startThreads(connection);
  if (error) return call.result(-error);
  napi_create_object(env, &object);
  napi_set_named_property(env, object, "arenaStart", call.result(static_cast<int64_t>(start)));
  setFunctions(connection, object);
  return object;
}

}  // namespace

void registerConnection(napi_env env, napi_value exports) { setFunction(env, exports, "attach", Attach); }

}  // namespace cairn
