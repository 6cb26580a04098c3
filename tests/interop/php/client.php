<?php
// PECL's stomp extension. It reads a frame only where a line feed follows its NUL, also when
// several frames arrive in one read.

$task = json_decode(stream_get_contents(STDIN), true);
$uri = "tcp://{$task['host']}:{$task['port']}";

function connect(array $headers = []): Stomp {
    global $uri;
    $client = new Stomp($uri, 'somebody', 'secret', $headers);
    $client->setReadTimeout(10);
    return $client;
}

function read(Stomp $client): array {
    $frame = $client->readFrame();
    if ($frame === false) {
        throw new Exception('no frame came: ' . json_encode($client->error()));
    }
    return ['command' => $frame->command, 'headers' => $frame->headers,
            'body' => base64_encode($frame->body ?? ''), 'frame' => $frame];
}

function told(array $message): array {
    unset($message['frame']);
    return $message;
}

$scenarios = [
    'connect' => function () {
        return ['session' => connect()->getSessionId()];
    },
    'backlog' => function () {  // frames that are there before the first one is read
        global $task;
        $client = connect();
        foreach ($task['bodies'] as $body) {
            $client->send('/queue/letters', base64_decode($body), ['receipt' => 'r', 'a' => 'b']);
        }
        $client->subscribe('/queue/letters', ['ack' => $task['ack']]);
        $got = [];
        foreach ($task['bodies'] as $_) {
            $message = read($client);
            if ($task['ack'] !== 'auto') {
                $client->ack($message['frame']);
            }
            $got[] = told($message);
        }
        return ['got' => $got];
    },
    'transaction' => function () {
        $client = connect();
        $client->begin('t1');
        $client->send('/queue/bills', 'credit', ['transaction' => 't1']);
        $client->commit('t1');
        $client->begin('t2');
        $client->send('/queue/bills', 'never', ['transaction' => 't2']);
        $client->abort('t2');
        $client->send('/queue/bills', 'outside', ['receipt' => 'r']);
        $client->subscribe('/queue/bills', ['ack' => 'auto']);
        return ['got' => [told(read($client)), told(read($client))]];
    },
    'topic' => function () {
        $readers = [connect(), connect(), connect()];
        foreach ($readers as $number => $reader) {
            // With a receipt the call returns when the subscription is there.
            $reader->subscribe('/topic/news', ['receipt' => "s$number", 'ack' => 'auto']);
        }
        connect()->send('/topic/news', 'hello');
        return ['got' => array_map(fn ($reader) => told(read($reader)), $readers)];
    },
    'error' => function () {
        $client = connect();
        $client->send('/nowhere/at/all', 'x', ['receipt' => 'r']);
        $error = $client->error();
        if ($error === false) {
            $frame = $client->readFrame();
            $error = $frame === false ? $client->error() : $frame->headers['message'];
        }
        return ['error' => $error];
    },
    'timeout' => function () {
        $client = connect();
        $client->setReadTimeout(0, 50000);
        $client->subscribe('/queue/empty', ['ack' => 'auto']);
        return ['frame' => $client->readFrame()];
    },
];

try {
    echo json_encode($scenarios[$task['scenario']]()), "\n";
} catch (Throwable $error) {
    fwrite(STDERR, $error->getMessage() . ' ' . ($error instanceof StompException ? $error->getDetails() : '') . "\n");
    exit(1);
}
