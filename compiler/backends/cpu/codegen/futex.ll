; What `runtime.ll` needs of pthread, for memory that WebAssembly shares among workers.
;
; The instructions that wait and wake are those of the threads proposal: `memory.atomic.wait32` sleeps while a word has
; a value, `memory.atomic.notify` wakes sleepers on a word. A mutex is a word: 0 free, 2 held. A condition variable
; counts its broadcasts: who waits notes the count while it holds the mutex, which who broadcasts holds, too, so no
; broadcast is missed. Workers are started and ended by JavaScript, each in `netc.work`; what they are described by lies
; behind the context.
;
; An instruction that exchanges or waits stands in a function of its own, without a loop, which does nothing with the
; address after it: the baseline compiler of V8 11.3 (Node 20) loses the local that holds it. In a loop that waits, the
; second turn exchanged the word at address 0 in place of the mutex; code of its optimizing compiler is right.

declare i32 @llvm.wasm.memory.atomic.wait32(ptr, i32, i64)
declare i32 @llvm.wasm.memory.atomic.notify(ptr, i32)

define internal i32 @pthread_mutex_init(ptr %mutex, ptr %none) noinline nounwind {
entry:
  store i32 0, ptr %mutex, align 4
  ret i32 0
}

define internal i32 @netc.exchange(ptr %word, i32 %value) noinline nounwind {
entry:
  %before = atomicrmw xchg ptr %word, i32 %value seq_cst
  ret i32 %before
}

define internal void @netc.sleep(ptr %word, i32 %value) noinline nounwind {
entry:
  %woken = call i32 @llvm.wasm.memory.atomic.wait32(ptr %word, i32 %value, i64 -1)
  ret void
}

define internal void @netc.rouse(ptr %word, i32 %count) noinline nounwind {
entry:
  %woken = call i32 @llvm.wasm.memory.atomic.notify(ptr %word, i32 %count)
  ret void
}

define internal i32 @pthread_mutex_lock(ptr %mutex) noinline nounwind {
entry:
  br label %want
want:
  %before = call i32 @netc.exchange(ptr %mutex, i32 2)
  %free = icmp eq i32 %before, 0
  br i1 %free, label %held, label %sleep
sleep:
  call void @netc.sleep(ptr %mutex, i32 2)
  br label %want
held:
  ret i32 0
}

define internal i32 @pthread_mutex_unlock(ptr %mutex) noinline nounwind {
entry:
  %before = call i32 @netc.exchange(ptr %mutex, i32 0)
  call void @netc.rouse(ptr %mutex, i32 1)
  ret i32 0
}

define internal i32 @pthread_mutex_destroy(ptr %mutex) noinline nounwind {
entry:
  ret i32 0
}

define internal i32 @pthread_cond_init(ptr %condition, ptr %none) noinline nounwind {
entry:
  store i32 0, ptr %condition, align 4
  ret i32 0
}

define internal i32 @pthread_cond_wait(ptr %condition, ptr %mutex) noinline nounwind {
entry:
  %count = load atomic i32, ptr %condition seq_cst, align 4
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  call void @netc.sleep(ptr %condition, i32 %count)
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  ret i32 0
}

define internal i32 @pthread_cond_broadcast(ptr %condition) noinline nounwind {
entry:
  %before = atomicrmw add ptr %condition, i32 1 seq_cst
  call void @netc.rouse(ptr %condition, i32 -1)
  ret i32 0
}

define internal i32 @pthread_cond_destroy(ptr %condition) noinline nounwind {
entry:
  ret i32 0
}

define internal i32 @pthread_join(i64 %thread, ptr %result) noinline nounwind {
entry:
  ret i32 0
}

; What a worker of JavaScript does from its start to its end.
define void @{{library}}_worker(ptr %worker) nounwind {
entry:
  %result = call ptr @netc.work(ptr %worker)
  ret void
}
