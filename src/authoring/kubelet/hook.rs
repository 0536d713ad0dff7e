//! A `preStop` handler: the kubelet keeps it in an annotation, as Go writes it in JSON. Pure.

use serde::Serialize;

use super::fields::Fields;

/// A lifecycle handler. Keys stand in the order of the API's types, empty ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Hook {
    #[serde(skip_serializing_if = "Option::is_none")]
    exec: Option<Exec>,
    #[serde(rename = "httpGet", skip_serializing_if = "Option::is_none")]
    http_get: Option<HttpGet>,
    #[serde(rename = "tcpSocket", skip_serializing_if = "Option::is_none")]
    tcp_socket: Option<TcpSocket>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sleep: Option<Sleep>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Exec {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct HttpGet {
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    port: PortName,
    #[serde(skip_serializing_if = "String::is_empty")]
    host: String,
    scheme: String,
    #[serde(rename = "httpHeaders", skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct TcpSocket {
    port: PortName,
    #[serde(skip_serializing_if = "String::is_empty")]
    host: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Sleep {
    seconds: i64,
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum PortName {
    Number(i32),
    Name(String),
}

pub(crate) fn read_hook(mut fields: Fields<'_>) -> Hook {
    let hook = Hook {
        exec: fields.object("exec").map(|mut exec| {
            let command = exec.texts("command");
            exec.close();
            Exec { command }
        }),
        http_get: fields.object("httpGet").map(read_http_get),
        tcp_socket: fields.object("tcpSocket").map(|mut socket| {
            let read = TcpSocket {
                port: port(&mut socket),
                host: socket.text("host"),
            };
            socket.close();
            read
        }),
        sleep: fields.object("sleep").map(|mut sleep| {
            let seconds = sleep.integer("seconds").unwrap_or_default();
            sleep.close();
            Sleep { seconds }
        }),
    };
    fields.close();
    hook
}

fn read_http_get(mut fields: Fields<'_>) -> HttpGet {
    let or = |text: String, default: &str| {
        if text.is_empty() {
            default.to_owned()
        } else {
            text
        }
    };
    let get = HttpGet {
        path: or(fields.text("path"), "/"),
        port: port(&mut fields),
        host: fields.text("host"),
        scheme: or(fields.text("scheme"), "HTTP"),
        headers: fields.each("httpHeaders", |mut header| {
            let read = Header {
                name: header.text("name"),
                value: header.text("value"),
            };
            header.close();
            read
        }),
    };
    fields.close();
    get
}

fn port(fields: &mut Fields<'_>) -> PortName {
    let text = fields.scalar("port").unwrap_or_default();
    text.parse()
        .map_or_else(|_| PortName::Name(text), PortName::Number)
}
