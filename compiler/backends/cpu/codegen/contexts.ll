; Contexts for several threads, around those of runtime.ll.

; The context of `runtime.ll`, the workspace, and the table of buffers that it points to.
%library = type { %context, ptr, [{{buffers}} x ptr] }

; Point a context of the runtime to the memory of a run.
define internal void @netc.prepare(ptr %ctx, ptr %workspace, ptr %table, ptr %inputs, ptr %outputs) noinline nounwind {
entry:
  %arena = getelementptr i8, ptr %workspace, i64 {{arena}}
  store ptr %arena, ptr %ctx, align 8
  %weights = call ptr @netc.weights.of(ptr %workspace)
  %weights.at = getelementptr %context, ptr %ctx, i64 0, i32 1
  store ptr %weights, ptr %weights.at, align 8
  %buffers.at = getelementptr %context, ptr %ctx, i64 0, i32 2
  store ptr %table, ptr %buffers.at, align 8
  %from.inputs = getelementptr ptr, ptr %table, i64 {{inputs}}
  %from.outputs = getelementptr ptr, ptr %from.inputs, i64 {{outputs}}
  call void @llvm.memcpy.p0.p0.{{size}}(ptr %table, ptr %inputs, {{size}} {{inputs_bytes}}, i1 false)
  call void @llvm.memcpy.p0.p0.{{size}}(ptr %from.inputs, ptr %outputs, {{size}} {{outputs_bytes}}, i1 false)
  %state = getelementptr i8, ptr %workspace, i64 {{state}}
  store ptr %state, ptr %from.outputs, align 8
  ret void
}

define i32 @{{prefix}}_{{function}}(ptr %workspace, ptr %inputs, ptr %outputs) nounwind {
entry:
  %library = alloca %library, align 64
  %table = getelementptr %library, ptr %library, i64 0, i32 2
  %ready = call i32 @netc.ready(ptr %workspace, ptr %inputs, ptr %outputs)
  %fits = icmp eq i32 %ready, 0
  br i1 %fits, label %run, label %done
run:
  %end = getelementptr %library, ptr null, i32 1
  %bytes = ptrtoint ptr %end to {{size}}
  call void @llvm.memset.p0.{{size}}(ptr %library, i8 0, {{size}} %bytes, i1 false)
  call void @netc.prepare(ptr %library, ptr %workspace, ptr %table, ptr %inputs, ptr %outputs)
  call void @netc.sequence(ptr %library, i64 0, i64 1)
  br label %done
done:
  ret i32 %ready
}

define i32 @{{prefix}}_context_start(ptr %library, ptr %workspace, i32 %threads) nounwind {
entry:
  %absent = icmp eq ptr %library, null
  br i1 %absent, label %null, label %check
null:
  ret i32 {{null}}
check:
  %usable = call i32 @netc.usable(ptr %workspace)
  %fits = icmp eq i32 %usable, 0
  br i1 %fits, label %count, label %unfit
unfit:
  ret i32 %usable
count:
  %less = sub i32 %threads, 1
  %possible = icmp ult i32 %less, {{threads}}
  br i1 %possible, label %start, label %failed
start:
  call void @llvm.memset.p0.{{size}}(ptr %library, i8 0, {{size}} {{context_bytes}}, i1 false)
  %workspace.at = getelementptr %library, ptr %library, i64 0, i32 1
  store ptr %workspace, ptr %workspace.at, align 8
  %threads.at = getelementptr %context, ptr %library, i64 0, i32 3
  %wide = zext i32 %threads to i64
  store i64 %wide, ptr %threads.at, align 8
  %errno = call i32 @netc.threads_start(ptr %library)
  %started = icmp eq i32 %errno, 0
  br i1 %started, label %done, label %failed
failed:
  %count.at = getelementptr %context, ptr %library, i64 0, i32 3
  store i64 0, ptr %count.at, align 8
  %workers.at = getelementptr %context, ptr %library, i64 0, i32 6
  store ptr null, ptr %workers.at, align 8
  ret i32 {{no_threads}}
done:
  ret i32 0
}

define i32 @{{prefix}}_context_{{function}}(ptr %library, ptr %inputs, ptr %outputs) nounwind {
entry:
  %absent = icmp eq ptr %library, null
  br i1 %absent, label %null, label %find
null:
  ret i32 {{null}}
find:
  ; A context that was stopped, or never started and zeros, has no threads.
  %count.at = getelementptr %context, ptr %library, i64 0, i32 3
  %count = load i64, ptr %count.at, align 8
  %stopped = icmp eq i64 %count, 0
  br i1 %stopped, label %none, label %prepare
none:
  ret i32 {{no_threads}}
prepare:
  %workspace.at = getelementptr %library, ptr %library, i64 0, i32 1
  %workspace = load ptr, ptr %workspace.at, align 8
  %table = getelementptr %library, ptr %library, i64 0, i32 2
  %ready = call i32 @netc.ready(ptr %workspace, ptr %inputs, ptr %outputs)
  %fits = icmp eq i32 %ready, 0
  br i1 %fits, label %run, label %done
run:
  call void @netc.prepare(ptr %library, ptr %workspace, ptr %table, ptr %inputs, ptr %outputs)
  call void @netc.threads_run(ptr %library)
  br label %done
done:
  ret i32 %ready
}

define void @{{prefix}}_context_stop(ptr %library) nounwind {
entry:
  %absent = icmp eq ptr %library, null
  br i1 %absent, label %done, label %stop
stop:
  call void @netc.threads_stop(ptr %library)
  %count.at = getelementptr %context, ptr %library, i64 0, i32 3
  store i64 0, ptr %count.at, align 8
  br label %done
done:
  ret void
}
