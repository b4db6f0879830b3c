; What networks for several threads share: their C interface, worker threads and barriers.
;
; `program.py` replaces the words in double braces and puts the network's `@netc.sequence(ctx, tid, nthreads)` beside
; this text. Documented for callers in `netc.h`. Needs only libc and pthread, and holds no address of its own.
;
; A waiting thread spins for a bounded time, then sleeps on one condition variable; where threads outnumber processors
; (`crowded`), it sleeps at once, as those it waits for need its processor. Whoever changes a word that others
; wait for does so with a sequentially consistent operation and then reads `sleepers`; whoever goes to sleep raises
; `sleepers` and then reads the word again. So at least one of the two sees the other, and no wake-up is lost.

%context = type {
  ptr,          ;  0 arena
  ptr,          ;  1 weights
  ptr,          ;  2 buffers: inputs, then outputs
  i64,          ;  3 threads
  ptr,          ;  4 profile, or null
  ptr,          ;  5 notify, or null
  ptr,          ;  6 workers: one %worker for each thread but the first; null unless they run
  i64,          ;  7 crowded: not 0 if there are more threads than processors
  i64,          ;  8 job: number of runs that were started
  [7 x i64],
  i64,          ; 10 arrived: threads that wait at the barrier
  [7 x i64],
  i64,          ; 12 passed: barriers that were passed
  [7 x i64],
  i64,          ; 14 sleepers
  i64,          ; 15 stopping
  [6 x i64],
  [16 x i64],   ; 17 mutex
  [16 x i64]    ; 18 condition variable
}
%worker = type { ptr, i64, i64 } ; context, thread number, pthread_t

declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_join(i64, ptr)
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_mutex_destroy(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @pthread_cond_destroy(ptr)
declare ptr @calloc(i64, i64)
declare void @free(ptr)

; Return once *word differs from `old`.
define internal void @netc.wait(ptr %ctx, ptr %word, i64 %old) noinline nounwind {
entry:
  %place = getelementptr %context, ptr %ctx, i64 0, i32 7
  %crowded = load i64, ptr %place, align 8
  %calm = icmp eq i64 %crowded, 0
  %spins = select i1 %calm, i64 {{spins}}, i64 1
  br label %spin
spin:
  %count = phi i64 [ 0, %entry ], [ %next, %again ]
  %seen = load atomic i64, ptr %word acquire, align 8
  %changed = icmp ne i64 %seen, %old
  br i1 %changed, label %done, label %again
again:
  {{pause}}
  %next = add i64 %count, 1
  %more = icmp ult i64 %next, %spins
  br i1 %more, label %spin, label %sleep
sleep:
  %sleepers = getelementptr %context, ptr %ctx, i64 0, i32 14
  %mutex = getelementptr %context, ptr %ctx, i64 0, i32 17
  %condition = getelementptr %context, ptr %ctx, i64 0, i32 18
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  %before = atomicrmw add ptr %sleepers, i64 1 seq_cst
  br label %check
check:
  %now = load atomic i64, ptr %word seq_cst, align 8
  %same = icmp eq i64 %now, %old
  br i1 %same, label %block, label %wake
block:
  %woken = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
wake:
  %after = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %done
done:
  ret void
}

; Count *word up and wake those who wait for that.
define internal void @netc.advance(ptr %ctx, ptr %word) noinline nounwind {
entry:
  %sleepers = getelementptr %context, ptr %ctx, i64 0, i32 14
  %before = atomicrmw add ptr %word, i64 1 seq_cst
  %asleep = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp ne i64 %asleep, 0
  br i1 %any, label %wake, label %done
wake:
  %mutex = getelementptr %context, ptr %ctx, i64 0, i32 17
  %condition = getelementptr %context, ptr %ctx, i64 0, i32 18
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  %sent = call i32 @pthread_cond_broadcast(ptr %condition)
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %done
done:
  ret void
}

; Return once all threads have called this.
define internal void @netc.barrier(ptr %ctx, i64 %nthreads) noinline nounwind {
entry:
  %alone = icmp eq i64 %nthreads, 1
  br i1 %alone, label %done, label %arrive
arrive:
  %arrived = getelementptr %context, ptr %ctx, i64 0, i32 10
  %passed = getelementptr %context, ptr %ctx, i64 0, i32 12
  %round = load atomic i64, ptr %passed acquire, align 8
  %earlier = atomicrmw add ptr %arrived, i64 1 acq_rel
  %number = add i64 %earlier, 1
  %last = icmp eq i64 %number, %nthreads
  br i1 %last, label %release, label %wait
release:
  store atomic i64 0, ptr %arrived monotonic, align 8
  call void @netc.advance(ptr %ctx, ptr %passed)
  br label %done
wait:
  call void @netc.wait(ptr %ctx, ptr %passed, i64 %round)
  br label %done
done:
  ret void
}

define internal ptr @netc.work(ptr %worker) nounwind {
entry:
  %ctx = load ptr, ptr %worker, align 8
  %number = getelementptr %worker, ptr %worker, i64 0, i32 1
  %tid = load i64, ptr %number, align 8
  %threads = getelementptr %context, ptr %ctx, i64 0, i32 3
  %nthreads = load i64, ptr %threads, align 8
  %job = getelementptr %context, ptr %ctx, i64 0, i32 8
  %stopping = getelementptr %context, ptr %ctx, i64 0, i32 15
  br label %next
next:
  %done = phi i64 [ 0, %entry ], [ %following, %run ]
  call void @netc.wait(ptr %ctx, ptr %job, i64 %done)
  %stop = load atomic i64, ptr %stopping acquire, align 8
  %quit = icmp ne i64 %stop, 0
  br i1 %quit, label %exit, label %run
run:
  call void @netc.sequence(ptr %ctx, i64 %tid, i64 %nthreads)
  call void @netc.barrier(ptr %ctx, i64 %nthreads)
  %following = add i64 %done, 1
  br label %next
exit:
  ret ptr null
}

; Stop and join the first `count` workers, and give back what `start` took.
define internal void @netc.join(ptr %ctx, i64 %count) noinline nounwind {
entry:
  %job = getelementptr %context, ptr %ctx, i64 0, i32 8
  %stopping = getelementptr %context, ptr %ctx, i64 0, i32 15
  %workers = getelementptr %context, ptr %ctx, i64 0, i32 6
  %all = load ptr, ptr %workers, align 8
  store atomic i64 1, ptr %stopping seq_cst, align 8
  call void @netc.advance(ptr %ctx, ptr %job)
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %next, %join ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %join, label %free
join:
  %handle = getelementptr %worker, ptr %all, i64 %i, i32 2
  %thread = load i64, ptr %handle, align 8
  %status = call i32 @pthread_join(i64 %thread, ptr null)
  %next = add i64 %i, 1
  br label %test
free:
  call void @free(ptr %all)
  store ptr null, ptr %workers, align 8
  %mutex = getelementptr %context, ptr %ctx, i64 0, i32 17
  %condition = getelementptr %context, ptr %ctx, i64 0, i32 18
  %a = call i32 @pthread_cond_destroy(ptr %condition)
  %b = call i32 @pthread_mutex_destroy(ptr %mutex)
  ret void
}

define {{linkage}} i32 @{{prefix}}_start(ptr %ctx) nounwind {
entry:
  %threads = getelementptr %context, ptr %ctx, i64 0, i32 3
  %nthreads = load i64, ptr %threads, align 8
  %others = sub i64 %nthreads, 1
  %workers = getelementptr %context, ptr %ctx, i64 0, i32 6
  %running = load ptr, ptr %workers, align 8
  %started = icmp ne ptr %running, null
  %alone = icmp slt i64 %others, 1
  %done = or i1 %started, %alone
  br i1 %done, label %ready, label %prepare
prepare:
  %job = getelementptr %context, ptr %ctx, i64 0, i32 8
  %arrived = getelementptr %context, ptr %ctx, i64 0, i32 10
  %passed = getelementptr %context, ptr %ctx, i64 0, i32 12
  %sleepers = getelementptr %context, ptr %ctx, i64 0, i32 14
  %stopping = getelementptr %context, ptr %ctx, i64 0, i32 15
  %mutex = getelementptr %context, ptr %ctx, i64 0, i32 17
  %condition = getelementptr %context, ptr %ctx, i64 0, i32 18
  store i64 0, ptr %job, align 8
  store i64 0, ptr %arrived, align 8
  store i64 0, ptr %passed, align 8
  store i64 0, ptr %sleepers, align 8
  store i64 0, ptr %stopping, align 8
  %all = call ptr @calloc(i64 %others, i64 24)
  store ptr %all, ptr %workers, align 8
  %missing = icmp eq ptr %all, null
  br i1 %missing, label %memory, label %init
init:
  %a = call i32 @pthread_mutex_init(ptr %mutex, ptr null)
  %b = call i32 @pthread_cond_init(ptr %condition, ptr null)
  br label %test
test:
  %i = phi i64 [ 0, %init ], [ %number, %create ]
  %more = icmp slt i64 %i, %others
  br i1 %more, label %create, label %ready
create:
  %number = add i64 %i, 1
  %worker = getelementptr %worker, ptr %all, i64 %i
  %place = getelementptr %worker, ptr %all, i64 %i, i32 1
  %handle = getelementptr %worker, ptr %all, i64 %i, i32 2
  store ptr %ctx, ptr %worker, align 8
  store i64 %number, ptr %place, align 8
  %status = call i32 @pthread_create(ptr %handle, ptr null, ptr @netc.work, ptr %worker)
  %failed = icmp ne i32 %status, 0
  br i1 %failed, label %undo, label %test
undo:
  call void @netc.join(ptr %ctx, i64 %i)
  ret i32 %status
memory:
  ret i32 12
ready:
  ret i32 0
}

define {{linkage}} void @{{prefix}}_run(ptr %ctx) nounwind {
entry:
  %threads = getelementptr %context, ptr %ctx, i64 0, i32 3
  %nthreads = load i64, ptr %threads, align 8
  %alone = icmp eq i64 %nthreads, 1
  br i1 %alone, label %run, label %post
post:
  %job = getelementptr %context, ptr %ctx, i64 0, i32 8
  call void @netc.advance(ptr %ctx, ptr %job)
  br label %run
run:
  call void @netc.sequence(ptr %ctx, i64 0, i64 %nthreads)
  call void @netc.barrier(ptr %ctx, i64 %nthreads)
  ret void
}

define {{linkage}} void @{{prefix}}_stop(ptr %ctx) nounwind {
entry:
  %threads = getelementptr %context, ptr %ctx, i64 0, i32 3
  %nthreads = load i64, ptr %threads, align 8
  %workers = getelementptr %context, ptr %ctx, i64 0, i32 6
  %all = load ptr, ptr %workers, align 8
  %idle = icmp eq ptr %all, null
  br i1 %idle, label %done, label %join
join:
  %others = sub i64 %nthreads, 1
  call void @netc.join(ptr %ctx, i64 %others)
  br label %done
done:
  ret void
}
