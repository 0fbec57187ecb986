// Dialogue with Nexus characters, for Unreal Engine 5. Not compiled in Nexus's own tests.
//
// Put both files into a game module whose Build.cs names "WebSockets" and "Json". From C++ or
// Blueprint: bind the events, then Connect; open the characters in OnConnected, which comes again
// when a broken connection is back. Everything happens on the game thread, and nothing blocks it.
// The protocol: crates/gateway/src/socket/npc.rs.
#pragma once

#include "CoreMinimal.h"
#include "Subsystems/GameInstanceSubsystem.h"
#include "NexusNpc.generated.h"

class IWebSocket;
class FJsonObject;

DECLARE_DYNAMIC_MULTICAST_DELEGATE(FNexusConnected);
DECLARE_DYNAMIC_MULTICAST_DELEGATE_ThreeParams(FNexusOpened, FString, Npc, FString, Session, int32, Turns);
DECLARE_DYNAMIC_MULTICAST_DELEGATE_ThreeParams(FNexusText, FString, Npc, FString, Say, FString, Text);
DECLARE_DYNAMIC_MULTICAST_DELEGATE_FourParams(FNexusDone, FString, Npc, FString, Say, FString, Status, FString, Text);
DECLARE_DYNAMIC_MULTICAST_DELEGATE_FourParams(FNexusAction, FString, Npc, FString, Call, FString, Name, FString, ArgsJson);
DECLARE_DYNAMIC_MULTICAST_DELEGATE_TwoParams(FNexusPair, FString, First, FString, Second);

UCLASS()
class UNexusNpc : public UGameInstanceSubsystem
{
	GENERATED_BODY()

public:
	UPROPERTY(BlueprintAssignable) FNexusConnected OnConnected;
	UPROPERTY(BlueprintAssignable) FNexusOpened OnOpened;
	UPROPERTY(BlueprintAssignable) FNexusText OnDelta;
	/** The deltas were to be forgotten; the text is what stays of them. */
	UPROPERTY(BlueprintAssignable) FNexusText OnReset;
	UPROPERTY(BlueprintAssignable) FNexusText OnFiller;
	UPROPERTY(BlueprintAssignable) FNexusAction OnAction;
	UPROPERTY(BlueprintAssignable) FNexusDone OnDone;
	/** Npc and token. */
	UPROPERTY(BlueprintAssignable) FNexusPair OnExported;
	/** Code and message. */
	UPROPERTY(BlueprintAssignable) FNexusPair OnFailed;

	UFUNCTION(BlueprintCallable) void Connect(const FString& Url, const FString& Key);
	/** ActionsJson is an array of {name, description, args, wait}; an empty session begins a new one. */
	UFUNCTION(BlueprintCallable) void Open(const FString& Npc, const FString& Persona, const FString& ActionsJson, const FString& Session);
	/** May be called every tick: the newest revision wins. */
	UFUNCTION(BlueprintCallable) void SetState(const FString& Npc, const FString& SetJson);
	/** The same id is the same line: after a broken connection, say it again. */
	UFUNCTION(BlueprintCallable) void Say(const FString& Npc, const FString& Text, const FString& Id);
	UFUNCTION(BlueprintCallable) void Interrupt(const FString& Npc);
	/** What came of an action; within 2 s. */
	UFUNCTION(BlueprintCallable) void FinishAction(const FString& Npc, const FString& Call, const FString& Output, bool bOk);
	UFUNCTION(BlueprintCallable) void Export(const FString& Npc);
	UFUNCTION(BlueprintCallable) void Import(const FString& Npc, const FString& Token);

	virtual void Deinitialize() override;

private:
	void Dial();
	void Retry();
	void Receive(const FString& Json);
	void Send(const TCHAR* Type, const FString& Npc, const FString& Fields);

	TSharedPtr<IWebSocket> Socket;
	FString Url, Key;
	TMap<FString, TArray<FString>> Said;
	TMap<FString, int32> Revs;
	FTimerHandle Timer;
};
