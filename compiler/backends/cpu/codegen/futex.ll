; What `runtime.ll` needs of pthread, for memory that WebAssembly shares among workers.
;
; The instructions that wait and wake are those of the threads proposal: `memory.atomic.wait32` sleeps while a word has
; a value, `memory.atomic.notify` wakes sleepers on a word. A mutex is a word: 0 free, 1 held, 2 held and perhaps waited
; for (U. Drepper, "Futexes Are Tricky", section 5). A condition variable counts its broadcasts: who waits notes the
; count while it holds the mutex, which who broadcasts holds, too, so no broadcast is missed. Workers are started and
; ended by JavaScript, each in `netc.work`; what they are described by lies behind the context.

declare i32 @llvm.wasm.memory.atomic.wait32(ptr, i32, i64)
declare i32 @llvm.wasm.memory.atomic.notify(ptr, i32)

define internal i32 @pthread_mutex_init(ptr %mutex, ptr %none) noinline nounwind {
entry:
  store i32 0, ptr %mutex, align 4
  ret i32 0
}

define internal i32 @pthread_mutex_lock(ptr %mutex) noinline nounwind {
entry:
  %pair = cmpxchg ptr %mutex, i32 0, i32 1 seq_cst seq_cst
  %free = extractvalue { i32, i1 } %pair, 1
  br i1 %free, label %held, label %want
want:
  %before = atomicrmw xchg ptr %mutex, i32 2 seq_cst
  %now = icmp eq i32 %before, 0
  br i1 %now, label %held, label %sleep
sleep:
  %woken = call i32 @llvm.wasm.memory.atomic.wait32(ptr %mutex, i32 2, i64 -1)
  br label %want
held:
  ret i32 0
}

define internal i32 @pthread_mutex_unlock(ptr %mutex) noinline nounwind {
entry:
  %before = atomicrmw xchg ptr %mutex, i32 0 seq_cst
  %wanted = icmp eq i32 %before, 2
  br i1 %wanted, label %wake, label %done
wake:
  %woken = call i32 @llvm.wasm.memory.atomic.notify(ptr %mutex, i32 1)
  br label %done
done:
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
  %woken = call i32 @llvm.wasm.memory.atomic.wait32(ptr %condition, i32 %count, i64 -1)
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  ret i32 0
}

define internal i32 @pthread_cond_broadcast(ptr %condition) noinline nounwind {
entry:
  %before = atomicrmw add ptr %condition, i32 1 seq_cst
  %woken = call i32 @llvm.wasm.memory.atomic.notify(ptr %condition, i32 -1)
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
