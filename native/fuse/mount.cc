// Opening /dev/fuse, mount(2), umount2(2) and receiving the descriptor that fusermount3 passes. No policy: which of
// them, with what options and in what order, is decided in fs/mount/mountpoint.ts.
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arguments.h"

namespace cairn {
namespace {

napi_value OpenDevice(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd = open(call.text(0).c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  return call.result(fd < 0 ? -errno : fd);
}

napi_value CloseDescriptor(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.result(close(static_cast<int>(call.number(0))) < 0 ? -errno : 0);
}

// mount(source, target, type, flags, data)
napi_value Mount(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int result = mount(call.text(0).c_str(), call.text(1).c_str(), call.text(2).c_str(),
                     static_cast<unsigned long>(call.number(3)), call.text(4).c_str());
  return call.result(result < 0 ? -errno : 0);
}

struct UnmountWork {
  std::string target;
  int flags;
  int error = 0;
  napi_ref callback = nullptr;
  napi_async_work work = nullptr;
};

void RunUnmount(napi_env, void* data) {
  auto* unmount = static_cast<UnmountWork*>(data);
  unmount->error = umount2(unmount->target.c_str(), unmount->flags) < 0 ? errno : 0;
}

void FinishUnmount(napi_env env, napi_status, void* data) {
  auto* unmount = static_cast<UnmountWork*>(data);
  napi_value callback, receiver, error;
  napi_get_reference_value(env, unmount->callback, &callback);
  napi_get_global(env, &receiver);
  napi_create_int32(env, unmount->error, &error);
  napi_delete_reference(env, unmount->callback);
  napi_delete_async_work(env, unmount->work);
  delete unmount;
  napi_call_function(env, receiver, callback, 1, &error, nullptr);
}

// unmount(target, flags, callback(errno)): off the JavaScript thread, because umount2 waits for requests that only
// the JavaScript thread can answer.
napi_value Unmount(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* unmount = new UnmountWork{call.text(0), static_cast<int>(call.number(1))};
  napi_create_reference(env, call.values[2], 1, &unmount->callback);
  napi_value name;
  napi_create_string_utf8(env, "cairn:unmount", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, nullptr, name, RunUnmount, FinishUnmount, unmount, &unmount->work);
  napi_queue_async_work(env, unmount->work);
  return nullptr;
}

// socketPair() -> [ours, theirs], or a negative errno
napi_value SocketPair(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) < 0) return call.result(-errno);
  napi_value pair;
  napi_create_array_with_length(env, 2, &pair);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, pair, i, call.result(sockets[i]));
  return pair;
}

// receiveDescriptor(socket) -> descriptor or negative errno. Does not wait: called when the sender has ended.
napi_value ReceiveDescriptor(napi_env env, napi_callback_info info) {
  Call call(env, info);
  char byte;
  iovec vector{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t received = recvmsg(static_cast<int>(call.number(0)), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (received < 0) return call.result(-errno);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return call.result(-ENODATA);
  int fd;
  __builtin_memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return call.result(fd);
}

}  // namespace

void registerMount(napi_env env, napi_value exports) {
  setFunction(env, exports, "openDevice", OpenDevice);
  setFunction(env, exports, "closeDescriptor", CloseDescriptor);
  setFunction(env, exports, "mount", Mount);
  setFunction(env, exports, "unmount", Unmount);
  setFunction(env, exports, "socketPair", SocketPair);
  setFunction(env, exports, "receiveDescriptor", ReceiveDescriptor);
}

}  // namespace cairn
